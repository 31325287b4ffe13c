// A page of what is for sale, and one listing's photos: what passes the gate, in order, with links that work for minutes.

/** @typedef {import("@supabase/supabase-js").SupabaseClient<import("../types/database.types.ts").Database>} Client */
/** @typedef {{ path: string, width: number, height: number }} Picture */
/** @typedef {Record<"thumb" | "card" | "preview" | "detail" | "detail_max", Picture>} Variants */

const MINUTES = 10;

/**
 * Links to objects of bucket media, in the order of the paths; null where the gate is closed by now.
 *
 * @param {Client} supabase
 * @param {string[]} paths
 */
async function sign(supabase, paths) {
  if (paths.length === 0) return [];
  const { data, error } = await supabase.storage.from("media").createSignedUrls(paths, MINUTES * 60);
  if (error) throw error;
  return data.map(({ signedUrl }) => signedUrl || null);
}

/**
 * Published listings with their cover; `before` is the created_at of the last one on the page before.
 *
 * @param {Client} supabase of a visitor or of a signed-in user
 * @param {{ before?: string, size?: number }} [page]
 */
export async function listingsPage(supabase, { before, size = 24 } = {}) {
  let query = supabase
    .from("listings")
    .select("id, title, price, currency, created_at, cover(image_id, alt_text, thumbhash, variants)")
    .eq("status", "published")
    .order("created_at", { ascending: false })
    .limit(size);
  if (before) query = query.lt("created_at", before);
  const { data, error } = await query;
  if (error) throw error;
  const cards = data.map(({ cover }) => /** @type {Variants | undefined} */ (cover?.variants)?.card.path);
  const signed = await sign(supabase, cards.filter((path) => path !== undefined));
  return data.map((listing, i) => ({ ...listing, url: cards[i] ? (signed.shift() ?? null) : null }));
}

/**
 * One listing's photos, in order; thumbhash is what to show until the picture is there.
 *
 * @param {Client} supabase
 * @param {string} listingId
 * @param {keyof Variants} [role]
 */
export async function galleryPage(supabase, listingId, role = "detail") {
  const { data, error } = await supabase
    .from("gallery")
    .select("id, position, alt_text, thumbhash, variants")
    .eq("listing_id", listingId)
    .order("position");
  if (error) throw error;
  const pictures = data.map(({ variants }) => /** @type {Variants} */ (variants)[role]);
  const urls = await sign(supabase, pictures.map(({ path }) => path));
  return data.map(({ variants, ...photo }, i) => ({
    ...photo,
    width: pictures[i].width,
    height: pictures[i].height,
    url: urls[i],
  }));
}
