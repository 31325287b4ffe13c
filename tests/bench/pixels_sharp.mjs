// The sharp side of bench_pixels.py: renders photos in one process and answers with the CPU seconds they took.
//
// stdin:  {"photos": [path], "specs": [{"role", "max_side", "quality"}], "out_dir": path, "pyramid": bool}
// stdout: {"cpu_seconds": number} for all photos, or {"error": text}
import { mkdir } from "node:fs/promises";
import { text } from "node:stream/consumers";
import path from "node:path";
import sharp from "sharp";

const { photos, specs, out_dir, pyramid } = JSON.parse(await text(process.stdin));
// One thread takes the least CPU; a cache would make the second round something else than the first.
sharp.concurrency(1);
sharp.cache(false);

const resizeTo = (side) => ({ width: side, height: side, fit: "inside", withoutEnlargement: true });

// As the documentation shows it: one pipeline for each size, each with its own (scaled) decoding.
async function separately(photo, folder) {
  for (const { role, max_side, quality } of specs) {
    const image = sharp(photo).rotate().resize(resizeTo(max_side)).webp({ quality });
    await image.toFile(path.join(folder, `${role}.webp`));
  }
}

// By hand: one decode to raw pixels of the largest size, all variants from those.
async function fromLargest(photo, folder) {
  const largest = Math.max(...specs.map((spec) => spec.max_side));
  const { data, info } = await sharp(photo)
    .rotate()
    .resize(resizeTo(largest))
    .raw()
    .toBuffer({ resolveWithObject: true });
  for (const { role, max_side, quality } of specs) {
    const image = sharp(data, { raw: info }).resize(resizeTo(max_side)).webp({ quality });
    await image.toFile(path.join(folder, `${role}.webp`));
  }
}

async function render(photo) {
  const folder = path.join(out_dir, path.basename(photo));
  await mkdir(folder, { recursive: true });
  await (pyramid ? fromLargest : separately)(photo, folder);
}

try {
  await render(photos[0]); // warm-up
  const before = process.cpuUsage();
  for (const photo of photos) await render(photo);
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ cpu_seconds: (user + system) / 1e6 }));
} catch (error) {
  console.log(JSON.stringify({ error: String(error) }));
}
