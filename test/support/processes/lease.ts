/** A file under a lease that another process holds. */
import { join } from "node:path";

/** Takes a write lease. @returns what ends it, or null where the file system gives none */
export async function takeLeaseOrNull(path: string): Promise<(() => Promise<void>) | null> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "lease-main.ts"), path], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
  };
  if (value !== undefined && new TextDecoder().decode(value).startsWith("held")) return end;
  await end();
  return null;
}
