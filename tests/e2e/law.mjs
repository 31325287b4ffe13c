// The law, with supabase-js as a shop would use it: upload, save, new client, sign out, sign in, open.
// Reads {url, anonKey, files: [{path, file_name, mime_type}]} as JSON from standard input and prints what it saw
// as one JSON line; the Python test around it compares that with the ledger.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws"; // Node 20 has none of its own

const input = JSON.parse(readFileSync(0, "utf8"));
const newClient = () =>
  createClient(input.url, input.anonKey, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
  });
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const must = ({ data, error }) => {
  if (error) throw new Error(JSON.stringify({ ...error, message: error.message }));
  return data;
};

const email = input.email;
const password = "correct horse battery staple";

// A seller signs up, saves a draft and uploads.
const first = newClient();
must(await first.auth.signUp({ email, password }));
const listing = must(await first.from("listings").insert({ title: "Lamp" }).select().single());
const files = input.files.map((file) => ({ ...file, bytes: readFileSync(file.path) }));
const reserved = must(
  await first.rpc("reserve_uploads", {
    listing_id: listing.id,
    files: files.map(({ file_name, mime_type, bytes }) => ({ file_name, mime_type, byte_size: bytes.length })),
  }),
);
for (const [i, { bucket, path }] of reserved.entries()) {
  must(await first.storage.from(bucket).upload(path, files[i].bytes, { contentType: files[i].mime_type }));
}
const deadline = Date.now() + 60_000;
for (;;) {
  const rows = must(await first.from("listing_images").select("state").eq("listing_id", listing.id));
  if (rows.every(({ state }) => state === "ready")) break;
  if (rows.some(({ state }) => state === "failed") || Date.now() > deadline) throw new Error(JSON.stringify(rows));
  await new Promise((resolve) => setTimeout(resolve, 100));
}
must(await first.auth.signOut());

// Another day, another browser.
const second = newClient();
must(await second.auth.signInWithPassword({ email, password }));
const images = must(
  await second
    .from("listing_images")
    .select("id, position, sha256, original_path, image_variants(role, path, byte_size)")
    .eq("listing_id", listing.id)
    .order("position"),
);
for (const image of images) {
  const original = must(await second.storage.from("private").download(image.original_path));
  image.original_sha256 = sha256(Buffer.from(await original.arrayBuffer()));
  for (const variant of image.image_variants) {
    const blob = must(await second.storage.from("media").download(variant.path));
    variant.downloaded = blob.size;
    variant.type = blob.type;
  }
}
const gallery = must(await second.from("gallery").select("*").eq("listing_id", listing.id).order("position"));

// A visitor sees nothing of a draft, and all of it once it is published.
const visitor = newClient();
const draft = must(await visitor.from("gallery").select("*").eq("listing_id", listing.id));

process.stdout.write(
  JSON.stringify({
    sent: files.map(({ bytes }) => sha256(bytes)),
    reserved: reserved.map(({ image_id }) => image_id),
    images,
    gallery: gallery.length,
    draft_seen_by_visitor: draft.length,
  }) + "\n",
);
