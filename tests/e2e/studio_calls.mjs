// Runs every request of functions/README.md, "The studio, call by call", with supabase-js, row by row, as one user.
// Reads {url, anonKey, email, readme} as JSON from standard input; prints, as one JSON line, what each row answered and
// how many HTTP requests it took. Between the rows it only waits for the worker.
import { readFileSync } from "node:fs";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws"; // Node 20 has none of its own

const input = JSON.parse(readFileSync(0, "utf8"));
let requests = 0;
const supabase = createClient(input.url, input.anonKey, {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: WebSocket },
  global: {
    fetch: (...args) => {
      requests += 1;
      return fetch(...args);
    },
  },
});
const { error } = await supabase.auth.signUp({ email: input.email, password: "correct horse battery staple" });
if (error) throw error;

const section = readFileSync(input.readme, "utf8").split("## The studio, call by call")[1].split("\n## ")[0];
const rows = [...section.matchAll(/^\| (.+?) \| `(.+)` \|$/gm)].map(([, what, code]) => ({ what, code }));

// What later rows speak of.
const known = { supabase, key: "first" };
const remember = {
  "order a generation": (data) => (known.job = data),
  "renders, newest first": (data) => {
    known.page = data;
    known.render = data.renders.at(-1);
  },
  "sessions, newest first": (data) => (known.last = data.at(-1)),
  "make a collection": (data) => (known.collection = data),
};
const idle = async () => {
  for (let left = 300; left > 0; left -= 1) {
    const { data } = await supabase.from("generation_jobs").select("id").is("completed_at", null);
    if (data.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the worker did not finish");
};

const answers = {};
for (const { what, code } of rows) {
  if (what === "the same again, another seed") {
    // The one that was canceled has no render: this one has.
    await idle();
  }
  requests = 0;
  const { data, error: refused, status } = await new Function(...Object.keys(known), `return ${code}`)(
    ...Object.values(known),
  );
  answers[what] = { data, error: refused, status, requests };
  if (!refused) remember[what]?.(data);
  if (what === "the same again, another seed" || what === "run a branch again") await idle();
}
console.log(JSON.stringify(answers));
