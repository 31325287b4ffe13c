// Runs every request of functions/README.md, "The usual calls", with supabase-js, row by row, as one user.
// Reads {url, anonKey, email, readme, photo} as JSON from standard input; prints, as one JSON line, what each row answered.
import { readFileSync } from "node:fs";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws"; // Node 20 has none of its own

const input = JSON.parse(readFileSync(0, "utf8"));
const supabase = createClient(input.url, input.anonKey, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: WebSocket },
});
const { error } = await supabase.auth.signUp({ email: input.email, password: "correct horse battery staple" });
if (error) throw error;

const section = readFileSync(input.readme, "utf8").split("## The usual calls")[1].split("\n## ")[0];
const rows = [...section.matchAll(/^\| (.+?) \| `(.+)` \|$/gm)].map(([, what, code]) => ({ what, code }));

// What later rows speak of.
const known = { supabase, file: new File([readFileSync(input.photo)], "lamp.jpg", { type: "image/jpeg" }) };
const remember = {
  "save a draft": (data) => (known.listing = data),
  "a path for each photo": (data) => (known.reserved = data),
  "the photos, in order": (data) => (known.photos = data),
};

const answers = {};
for (const { what, code } of rows) {
  const call = new Function(...Object.keys(known), `return ${code}`);
  let answer = await call(...Object.values(known));
  for (let left = 300; what === "the photos, in order" && answer.data.length === 0 && left > 0; left -= 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    answer = await call(...Object.values(known));
  }
  const { data, error: refused } = answer;
  answers[what] = { data, error: refused };
  if (!refused) remember[what]?.(data);
}
console.log(JSON.stringify(answers));
