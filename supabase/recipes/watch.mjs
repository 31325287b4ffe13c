// Follow a generation. Polling is the truth; where the project has Realtime, a change is read at once instead of soon.

/** @typedef {import("@supabase/supabase-js").SupabaseClient<import("../types/database.types.ts").Database>} Client */

const ENDED = ["succeeded", "failed", "canceled"];

/**
 * Answers the generation's row once it has ended.
 *
 * @param {Client} supabase of its owner
 * @param {string} jobId
 * @param {(generation: { status: string, progress: number }) => void} [onChange]
 */
export async function watchGeneration(supabase, jobId, onChange = () => {}) {
  let wake = () => {};
  const channel = supabase
    .channel(`generation:${jobId}`)
    .on(
      "postgres_changes",
      { event: "UPDATE", schema: "public", table: "generation_jobs", filter: `id=eq.${jobId}` },
      () => wake(),
    )
    .subscribe(); // without Realtime it never gets through, and nothing waits for it
  let seen = "";
  try {
    for (let pause = 500; ; pause = Math.min(pause * 1.5, 5000)) {
      const { data, error } = await supabase
        .from("generation_jobs")
        .select("id, status, progress, error, error_code, is_retryable, cost, duration_ms")
        .eq("id", jobId)
        .single();
      if (error) throw error;
      const now = `${data.status} ${data.progress}`;
      if (now !== seen) onChange(data);
      seen = now;
      if (ENDED.includes(data.status)) return data;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, pause);
        wake = () => (clearTimeout(timer), resolve(undefined));
      });
    }
  } finally {
    await supabase.removeChannel(channel);
  }
}
