// Runs one recipe of supabase/recipes as a signed-in user. Reads {url, anonKey, email, password, recipe, …} as JSON from
// standard input, prints what it saw as one JSON line; the Python test around it compares that with the ledger.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createClient } from "@supabase/supabase-js";
import { galleryPage, listingsPage } from "../../supabase/recipes/gallery.mjs";
import { generate } from "../../supabase/recipes/generate.mjs";
import { replacePhoto } from "../../supabase/recipes/replace.mjs";
import { saveListing, savedLists, unsaveListing } from "../../supabase/recipes/saved_lists.mjs";
import { uploadPhotos } from "../../supabase/recipes/upload.mjs";
import { watchGeneration } from "../../supabase/recipes/watch.mjs";
import { File } from "node:buffer";
import WebSocket from "ws"; // Node 20 has none of its own

const input = JSON.parse(readFileSync(0, "utf8"));
const supabase = createClient(input.url, input.anonKey, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: WebSocket },
});
const { error } = await supabase.auth.signInWithPassword({ email: input.email, password: input.password });
assert.equal(error, null);
const files = (input.files ?? []).map(
  ({ path, name, type }) => new File([readFileSync(path)], name, { type }),
);
const progress = [];
const hear = (each) => progress.push(each);

const recipes = {
  upload: async () => ({ images: await uploadPhotos(supabase, input.listing, files, hear), progress }),
  gallery: async () => ({
    page: await listingsPage(supabase, { size: 200 }),
    gallery: await galleryPage(supabase, input.listing),
  }),
  replace: async () => replacePhoto(supabase, input.image, files[0]),
  saved_lists: async () => {
    const id = await saveListing(supabase, "Lamps", input.listing);
    assert.equal(await saveListing(supabase, "Lamps", input.listing), id);
    const lists = await savedLists(supabase);
    await unsaveListing(supabase, id, input.listing);
    return { id, lists, after: await savedLists(supabase) };
  },
  generate: async () => ({
    ...(await generate(supabase, { mode: "imagine", prompt: "A lamp", params: { width: 64, height: 64 } }, hear)),
    progress,
  }),
  watch: async () => {
    const { data, error } = await supabase.rpc("submit_generation", { mode: "imagine", prompt: "A lamp" });
    assert.equal(error, null);
    return { ...(await watchGeneration(supabase, data.id, hear)), progress };
  },
};
console.log(JSON.stringify(await recipes[input.recipe]()));
process.exit(0); // a client whose socket found no Realtime would try again
