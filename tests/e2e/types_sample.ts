// What the types must know and what they must refuse; compiled by tests/e2e/test_types.py, never run.
import { createClient } from "@supabase/supabase-js";
import type { Database, Tables, TablesInsert } from "../../supabase/types/database.types.ts";

const supabase = createClient<Database>("http://127.0.0.1", "key");

export const draft: TablesInsert<"listings"> = { title: "Lamp", price: 12 };

// Row has what can be embedded too; `*` is without.
type Listing = Omit<Tables<"listings">, "cover" | "gallery">;

export async function sample(): Promise<Listing[]> {
  const { data: listings } = await supabase.from("listings").select("*").eq("status", "published");
  const { data: photos } = await supabase.from("gallery").select("id, position, alt_text");
  const position: number | null | undefined = photos?.[0].position;
  const { data: job } = await supabase.rpc("submit_generation", { mode: "imagine", prompt: "A lamp" });
  const status: string | undefined = job?.status;
  // @ts-expect-error there is no such table
  await supabase.from("lisings").select();
  // @ts-expect-error a title is text
  await supabase.from("listings").insert({ title: 1 });
  // @ts-expect-error mode is missing
  await supabase.rpc("submit_generation", { prompt: "A lamp" });
  // @ts-expect-error gallery is read only
  await supabase.from("gallery").insert({ id: "x" });
  console.log(position, status);
  return listings ?? [];
}
