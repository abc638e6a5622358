/**
 * The certificate authorities to trust: those that Bun trusts (its own list, the system's, SSL_CERT_FILE,
 * SSL_CERT_DIR, NODE_EXTRA_CA_CERTS), and beside them those of `ca_file` and AWS_CA_BUNDLE, for a store with
 * a private authority.
 *
 * - Every connection requests verification, so that NODE_TLS_REJECT_UNAUTHORIZED=0 has no effect.
 * - The file is read and checked once, when the store is opened, never for a request.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { getCACertificates } from "node:tls";
import { errorMessage, WalrustError } from "../../errors.ts";

/** The environment variable of the AWS tools that names a file of certificate authorities. */
const BUNDLE_VARIABLE = "AWS_CA_BUNDLE";
/** The environment variable that switches off verification in other programs. */
const UNVERIFIED_VARIABLE = "NODE_TLS_REJECT_UNAUTHORIZED";

/** The largest file of certificates that is read; system bundles have a quarter of a megabyte. */
const FILE_SIZE_MAX = 16 << 20;
const CERTIFICATE_PATTERN =
  /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[\s\S]+?-----END (?:TRUSTED )?CERTIFICATE-----/g;

type Environment = Readonly<Record<string, string | undefined>>;

/** The `tls` option of a fetch. */
export interface TlsTrust {
  readonly rejectUnauthorized: true;
  /** All trusted authorities as PEM; if absent, those that Bun trusts by itself. */
  readonly ca?: string[];
}

/** Verification with the authorities that Bun trusts by itself. */
export const DEFAULT_TLS_TRUST: TlsTrust = { rejectUnauthorized: true };

/**
 * Reads the private authorities of a store, if any.
 *
 * @param caFile the setting `ca_file`, if set; AWS_CA_BUNDLE adds another file
 * @throws WalrustError "config" when a file cannot be read or holds no certificate
 */
export function readTlsTrust(caFile: string | undefined, environment: Environment): TlsTrust {
  const own: string[] = [];
  if (caFile !== undefined) own.push(...readCertificates(caFile, "ca_file"));
  const bundle = environment[BUNDLE_VARIABLE] || undefined;
  if (bundle !== undefined) own.push(...readCertificates(bundle, BUNDLE_VARIABLE));
  if (own.length === 0) return DEFAULT_TLS_TRUST;
  // Bun replaces its own list by ours.
  const known = [...getCACertificates("default"), ...getCACertificates("system")];
  return { rejectUnauthorized: true, ca: [...new Set([...known, ...own])] };
}

/** Whether the environment asks for unverified connections, which is ignored and worth a warning. */
export function isUnverifiedAsked(environment: Environment): boolean {
  return environment[UNVERIFIED_VARIABLE] === "0";
}

function readCertificates(path: string, setting: string): string[] {
  const what = `Cannot use the certificates in ${path} (${setting})`;
  const text = readText(path, what);
  const certificates = text.match(CERTIFICATE_PATTERN) ?? [];
  if (certificates.length === 0) {
    throw new WalrustError("config", `${what}: the file has none, expected PEM with BEGIN CERTIFICATE`, {
      hint: "Convert a DER file with: openssl x509 -inform der -in FILE -out ca.pem",
    });
  }
  for (const [index, certificate] of certificates.entries()) {
    try {
      new X509Certificate(certificate);
    } catch (cause) {
      const where = `number ${index + 1} of ${certificates.length} cannot be decoded`;
      throw new WalrustError("config", `${what}: ${where}: ${errorMessage(cause)}`, { cause });
    }
  }
  return certificates;
}

function readText(path: string, what: string): string {
  try {
    const stats = statSync(path);
    if (!stats.isFile()) throw new Error("it is not a regular file");
    const { size } = stats;
    if (size > FILE_SIZE_MAX) throw new Error(`it has ${size} bytes, expected at most ${FILE_SIZE_MAX}`);
    return readFileSync(path, "latin1");
  } catch (cause) {
    throw new WalrustError("config", `${what}: ${errorMessage(cause)}`, { cause });
  }
}
