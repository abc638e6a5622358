/**
 * The tests' S3 server in a process of its own, for a machine without versitygw. Objects stay in the memory
 * of this process. The argument is a JSON file with StoreOptions. Prints the port.
 */
import { readFileSync } from "node:fs";
import { S3Server } from "../../../test/support/servers/s3-server.ts";
import type { StoreOptions } from "./storage.ts";

const { bucket, ...keys } = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as StoreOptions;
const server = await S3Server.start({ ...keys, buckets: [bucket] });
console.log(new URL(server.url).port);
