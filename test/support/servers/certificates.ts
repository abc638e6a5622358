/**
 * A private certificate authority for tests, and its server certificates. Each run makes its own keys, so the
 * repository holds none, and no certificate expires on a fixed day. X.509 v3 in DER with ECDSA on P-256, by
 * RFC 5280.
 */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "../temp.ts";

const DAY_MS = 86_400_000;
const ECDSA_WITH_SHA256 = oid("2a8648ce3d040302");
const COMMON_NAME = oid("550403");
const BASIC_CONSTRAINTS = oid("551d13");
const SUBJECT_ALT_NAME = oid("551d11");
const TRUE = der(0x01, Buffer.from([0xff]));

/** A key with its certificate, as PEM. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

/** Properties of a server certificate, wrong ones included. */
export interface CertificateOptions {
  /** Host names of the certificate. */
  readonly names?: readonly string[];
  /** Days until the certificate expires; negative for an expired certificate. */
  readonly days?: number;
}

/** An authority. */
export class Authority {
  readonly cert: string;
  /** The file with the PEM of `cert`. */
  readonly path: string;
  readonly #keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  #serial = 1;

  constructor(readonly name = "walrust test authority") {
    this.cert = this.#issue(name, this.#keys.publicKey, 3650, [
      sequence(BASIC_CONSTRAINTS, TRUE, octets(sequence(TRUE))),
    ]);
    this.path = join(tempFolder("authority"), "ca.pem");
    writeFileSync(this.path, this.cert);
  }

  /** Issues a certificate for a server on 127.0.0.1. */
  server({ names = ["localhost", "127.0.0.1"], days = 30 }: CertificateOptions = {}): Certificate {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const entries = names.map((name) =>
      /^[\d.]+$/.test(name)
        ? der(0x87, Buffer.from(name.split(".").map(Number)))
        : der(0x82, Buffer.from(name)),
    );
    const extensions = [sequence(SUBJECT_ALT_NAME, octets(sequence(...entries)))];
    return {
      cert: this.#issue(names[0] ?? "nobody", publicKey, days, extensions),
      key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    };
  }

  #issue(subject: string, key: KeyObject, days: number, extensions: readonly Buffer[]): string {
    const nowMs = Date.now();
    const signed = sequence(
      der(0xa0, der(0x02, Buffer.from([2]))),
      der(0x02, Buffer.from([this.#serial++])),
      sequence(ECDSA_WITH_SHA256),
      nameOf(this.name),
      sequence(time(nowMs - 30 * DAY_MS), time(nowMs + days * DAY_MS)),
      nameOf(subject),
      key.export({ type: "spki", format: "der" }) as Buffer,
      der(0xa3, sequence(...extensions)),
    );
    const signature = sign("sha256", signed, this.#keys.privateKey);
    const bits = der(0x03, Buffer.concat([Buffer.from([0]), signature]));
    const base64 = sequence(signed, sequence(ECDSA_WITH_SHA256), bits).toString("base64");
    const lines = base64.match(/.{1,64}/g) as string[];
    return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
  }
}

/** Writes a server's certificate and key into a new folder. @returns the paths */
export function writeCertificate(certificate: Certificate): { folder: string; cert: string; key: string } {
  const folder = tempFolder("certificate");
  const paths = { folder, cert: join(folder, "public.crt"), key: join(folder, "private.key") };
  writeFileSync(paths.cert, certificate.cert);
  writeFileSync(paths.key, certificate.key);
  return paths;
}

function der(tag: number, content: Buffer): Buffer {
  const size = content.byteLength;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function octets(content: Buffer): Buffer {
  return der(0x04, content);
}

function oid(hexText: string): Buffer {
  return der(0x06, Buffer.from(hexText, "hex"));
}

function nameOf(commonName: string): Buffer {
  return sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(commonName)))));
}

/** UTCTime, the form that RFC 5280 demands before 2050. */
function time(timeMs: number): Buffer {
  const text = new Date(timeMs).toISOString().replace(/[-:T]|\.\d+/g, "");
  return der(0x17, Buffer.from(text.slice(2)));
}
