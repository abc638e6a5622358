/**
 * The certificate of the storage over https: made anew for each run by `openssl`, valid for 127.0.0.1, and
 * its own authority. Both tools trust it through SSL_CERT_FILE.
 */
import { join } from "node:path";
import { capture } from "../toolchain.ts";

/** Paths of the PEM files. */
export interface Certificate {
  readonly certPath: string;
  readonly keyPath: string;
}

/** Makes a certificate in a folder. @throws Error when `openssl` is missing or fails */
export async function makeCertificate(folder: string): Promise<Certificate> {
  if (Bun.which("openssl") === null) throw new Error("https needs `openssl`, which is not installed");
  const paths = { certPath: join(folder, "server.crt"), keyPath: join(folder, "server.key") };
  const { exitCode, stderr } = await capture([
    ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"],
    ...["-days", "2", "-subj", "/CN=walrust bench", "-addext", "subjectAltName=IP:127.0.0.1"],
    ...["-out", paths.certPath, "-keyout", paths.keyPath],
  ]);
  if (exitCode !== 0) throw new Error(`openssl cannot make a certificate: ${stderr}`);
  return paths;
}
