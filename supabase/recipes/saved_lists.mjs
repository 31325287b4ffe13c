// Saved lists: a buyer's own named lists of published listings. They hold references; what is off sale comes as null.

/** @typedef {import("@supabase/supabase-js").SupabaseClient<import("../types/database.types.ts").Database>} Client */

/**
 * Saves a listing to the list of this name, which is made if need be. Answers the list's id.
 *
 * @param {Client} supabase of a signed-in user
 * @param {string} name
 * @param {string} listingId
 */
export async function saveListing(supabase, name, listingId) {
  const found = await supabase.from("saved_lists").select("id").eq("name", name).limit(1).maybeSingle();
  if (found.error) throw found.error;
  const list = found.data ? found : await supabase.from("saved_lists").insert({ name }).select("id").single();
  if (list.error) throw list.error;
  const { id } = /** @type {{ id: string }} */ (list.data);
  const { error } = await supabase.from("saved_list_items").insert({ list_id: id, listing_id: listingId });
  if (error && error.code !== "23505") throw error; // 23505: it is in the list already
  return id;
}

/**
 * All lists with their cover, and what is in them, oldest first.
 *
 * @param {Client} supabase of a signed-in user
 */
export async function savedLists(supabase) {
  const { data, error } = await supabase
    .from("saved_lists")
    .select(
      "id, name, cover:list_cover(listing_id, thumbhash, variants)," +
        " saved_list_items(listing_id, listings(title, price, currency, cover(thumbhash, variants)))",
    )
    .order("created_at")
    .order("created_at", { referencedTable: "saved_list_items" });
  if (error) throw error;
  return data;
}

/**
 * @param {Client} supabase of a signed-in user
 * @param {string} listId
 * @param {string} listingId
 */
export async function unsaveListing(supabase, listId, listingId) {
  const { error } = await supabase.from("saved_list_items").delete().eq("list_id", listId).eq("listing_id", listingId);
  if (error) throw error;
}
