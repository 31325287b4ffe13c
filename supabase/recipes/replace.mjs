// Replace a photo: the old one stays until the new one passes the gate; then the new one takes its place and flag.

import { typed } from "./upload.mjs"; // for HEIC, of which many browsers do not know the type

/** @typedef {import("@supabase/supabase-js").SupabaseClient<import("../types/database.types.ts").Database>} Client */

/**
 * Answers the new photo once it has taken the place, or has failed: then the old one is untouched.
 *
 * @param {Client} supabase of the photo's owner
 * @param {string} imageId
 * @param {File} file
 */
export async function replacePhoto(supabase, imageId, file) {
  file = typed(file);
  const { data, error } = await supabase.rpc("reserve_replacement", {
    image_id: imageId,
    file: { file_name: file.name, mime_type: file.type, byte_size: file.size },
  });
  if (error) throw error;
  const { image_id, bucket, path } = /** @type {{ image_id: string, bucket: string, path: string }} */ (data);
  const sent = await supabase.storage.from(bucket).upload(path, file, { contentType: file.type });
  if (sent.error) throw sent.error;

  for (;;) {
    const { data: image, error } = await supabase
      .from("listing_images")
      .select("id, position, state, error, error_code, review_state, review_reason")
      .eq("id", image_id)
      .single();
    if (error) throw error;
    // Waiting for a review is no matter of seconds: show it as it is in media_tray, and go on.
    const isWaiting = image.state === "ready" && ["pending", "rejected", "error"].includes(image.review_state);
    if (image.position !== null || image.state === "failed" || isWaiting) return image;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
