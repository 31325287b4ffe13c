// One prompt in, pictures out: submit, poll until it has ended, show where the pictures are.
import { watchGeneration } from "./watch.mjs";

/** @typedef {import("@supabase/supabase-js").SupabaseClient<import("../types/database.types.ts").Database>} Client */
/** @typedef {import("../types/database.types.ts").Database["public"]["Functions"]["submit_generation"]["Args"]} Recipe */

/**
 * Answers the generation and its pictures' addresses, none unless it succeeded.
 *
 * @param {Client} supabase of a signed-in user
 * @param {Recipe} recipe such as { mode: "imagine", prompt: "A lamp" }
 * @param {(generation: { status: string, progress: number }) => void} [onProgress]
 */
export async function generate(supabase, recipe, onProgress) {
  // The key makes it safe to send again when the answer was lost: the same key is the same generation, paid once.
  const { data: job, error } = await supabase.rpc("submit_generation", {
    idempotency_key: crypto.randomUUID(),
    ...recipe,
  });
  if (error) throw error; // details: generation_in_flight, generation_quota_spent, generation_invalid …
  const ended = await watchGeneration(supabase, job.id, onProgress);
  const { data: variants, error: unread } = await supabase
    .from("render_variants")
    .select("idx, image_path, thumb_path, width, height, asset_id")
    .eq("render_id", job.render_id)
    .order("idx");
  if (unread) throw unread;
  const files = supabase.storage.from("public");
  return {
    ...ended,
    pictures: variants.map(({ image_path, thumb_path, ...picture }) => ({
      ...picture,
      url: files.getPublicUrl(image_path).data.publicUrl,
      thumbUrl: files.getPublicUrl(thumb_path).data.publicUrl,
    })),
  };
}
