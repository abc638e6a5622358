/**
 * Tells where the keys of a bucket come from, and never shows one.
 */
import { resolveStore } from "../../config/config.ts";
import type { Sources } from "../../config/resolve.ts";
import { asWalrustError } from "../../errors.ts";
import type { Checks } from "./check.ts";

/** Environment variables by which the AWS chain finds keys, in its order. */
const CHAIN = [
  ["AWS_WEB_IDENTITY_TOKEN_FILE", "a web identity token"],
  ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "the container's role"],
  ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "the container's role"],
] as const;

/** Checks where the keys come from; whether they work is for the destination to say. */
export function checkCredentials(sources: Sources, checks: Checks): void {
  try {
    const { accessKeyId, profile } = resolveStore(sources);
    if (accessKeyId.value !== undefined)
      checks.ok("credentials", `the keys come from ${accessKeyId.origin.text}`);
    else if (profile.value !== undefined) {
      checks.ok("credentials", `the keys come from the profile ${profile.value} (${profile.origin.text})`);
    } else checks.ok("credentials", `the keys come from the AWS chain: ${chainText(sources.environment)}`);
  } catch (error) {
    checks.failure("credentials", asWalrustError(error));
  }
}

function chainText(environment: Sources["environment"]): string {
  const found = CHAIN.find(([variable]) => environment[variable]);
  if (found !== undefined) return `${found[1]} (${found[0]})`;
  return "the default profile, or the role of this machine";
}
