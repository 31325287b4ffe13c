// Upload photos to a listing, with progress: rows first, then bytes, then wait until each is ready or says why not.

/** @typedef {import("@supabase/supabase-js").SupabaseClient<import("../types/database.types.ts").Database>} Client */
/** @typedef {{ sent: number, settled: number, total: number }} Progress photos whose bytes are there; ready or failed */

const AT_ONCE = 4;

/**
 * The file with a type. Browsers that know no HEIC leave it empty, and nothing without a type is taken.
 *
 * @param {File} file
 */
export function typed(file) {
  const ending = /\.hei[cf]$/i.exec(file.name)?.[0].slice(1).toLowerCase();
  return file.type || !ending ? file : new File([file], file.name, { type: `image/${ending}` });
}

/**
 * Answers the listing's photos that were sent, in order, each `ready` or `failed` with `error` for people.
 *
 * @param {Client} supabase of a signed-in user
 * @param {string} listingId
 * @param {File[]} files
 * @param {(progress: Progress) => void} [onProgress]
 */
export async function uploadPhotos(supabase, listingId, files, onProgress = () => {}) {
  files = files.map(typed);
  const progress = { sent: 0, settled: 0, total: files.length };

  // 1. Limits are checked and every path is named before a byte is sent: all of them, or an error that says which.
  const { data, error } = await supabase.rpc("reserve_uploads", {
    listing_id: listingId,
    files: files.map((file) => ({ file_name: file.name, mime_type: file.type, byte_size: file.size })),
  });
  if (error) throw error; // error.message for people, error.details a stable code, error.hint what to do
  const reserved = /** @type {{ image_id: string, bucket: string, path: string }[]} */ (data);

  // 2. Bytes, a few at a time, each to exactly its path. Sent twice, the second is refused: already_uploaded.
  const waiting = [...reserved.entries()];
  const send = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [i, { bucket, path }] = next;
      const { error } = await supabase.storage.from(bucket).upload(path, files[i], { contentType: files[i].type });
      if (error) throw error;
      progress.sent += 1;
      onProgress({ ...progress });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, send));

  // 3. The worker reads them. Polling is one small request; after a reload, start here: the rows are all there.
  const ids = reserved.map(({ image_id }) => image_id);
  for (;;) {
    const { data: images, error } = await supabase
      .from("listing_images")
      .select("id, position, state, error, error_code, is_retryable")
      .in("id", ids)
      .order("position");
    if (error) throw error;
    const settled = images.filter(({ state }) => state === "ready" || state === "failed").length;
    if (settled !== progress.settled) onProgress({ ...progress, settled });
    progress.settled = settled;
    if (settled === images.length) return images;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
