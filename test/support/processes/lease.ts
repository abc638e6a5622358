/** A file under a write lease of another process. */
import { join } from "node:path";

/** Takes a write lease. @returns a function that ends the lease, or null if the file system has no leases */
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
