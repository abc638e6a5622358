/**
 * The readers of the benchmark: /proc, the gateway's log, counters of system calls, and the objects in the
 * gateway's folder. The sample texts come from Linux 6.18, versitygw 1.8.0, perf 6.18 and strace 6.13.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAccessLog } from "../../../scripts/bench/samples/access-log.ts";
import { ObjectLog } from "../../../scripts/bench/samples/objects.ts";
import { summarize } from "../../../scripts/bench/samples/sampler.ts";
import { parsePerfCount, parseStraceCount } from "../../../scripts/bench/samples/syscalls.ts";
import {
  parseBusyMs,
  parseConnections,
  parseCpuMs,
  parsePssBytes,
  parseStatus,
} from "../../../scripts/measure/proc.ts";
import { encodeLtxHeader, FLAG_NO_CHECKSUM } from "../../../src/format/ltx.ts";
import type { Checksum, Txid } from "../../../src/format/types.ts";
import { tempFolder } from "../../support/temp.ts";

describe("proc", () => {
  const STATUS =
    "Name:\twalrust\nVmHWM:\t   61232 kB\nVmRSS:\t   59000 kB\nRssAnon:\t   11000 kB\nThreads:\t7\n";

  test("parseStatus reads kB as bytes", () => {
    expect(parseStatus(STATUS)).toEqual({
      rssBytes: 59_000 * 1024,
      anonymousBytes: 11_000 * 1024,
      peakRssBytes: 61_232 * 1024,
      threadCount: 7,
    });
  });

  test("parseStatus rejects a zombie, which has no memory", () => {
    expect(() => parseStatus("Name:\twalrust\nState:\tZ (zombie)\nThreads:\t1\n")).toThrow("no VmRSS");
  });

  test("parseCpuMs adds utime and stime, for any name of the process", () => {
    expect(parseCpuMs("77 (a) R 1 (b) S 1 77 77 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 7 0 1")).toBe(1750);
  });

  test("parseBusyMs omits idle and iowait", () => {
    expect(parseBusyMs("cpu  10 1 5 9000 800 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")).toBe(250);
  });

  test("parsePssBytes reads Pss, not its parts", () => {
    const text =
      "00400000-7fff [rollup]\nRss:    9000 kB\nPss:    4321 kB\nPss_Dirty:  10 kB\nPss_Anon: 7 kB\n";
    expect(parsePssBytes(text)).toBe(4321 * 1024);
    expect(() => parsePssBytes("Rss: 1 kB\n")).toThrow("no Pss");
  });

  test("parseConnections counts established connections to the port, not those from it", () => {
    const table = [
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1",
      "   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 2 1",
      "   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1",
      "   3: 0100007F:C351 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 4 1",
      "  14: 0100007F:C352 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 5 1",
    ].join("\n");
    expect(parseConnections(table, 0x1f90)).toBe(2);
    expect(parseConnections(table, 0x1f91)).toBe(0);
  });
});

describe("parseAccessLog", () => {
  const line = (operation: string, key: string, status: number): string =>
    `test bench [21/November/2026:01:30:40 +0000] 127.0.0.1 test 4J8B4VWKG4QE9L9L s3_${operation} ${key} ` +
    `/bench/${key} ${status} - 0 3350 3 3 - Bun/1.4.5 - D3D= SigV4 - AuthHeader s3.amazonaws.com - arn Yes\n`;
  const OBJECT = "0000000000000002-0000000000000002.ltx";

  test("counts by operation, and counts the level-0 objects written", () => {
    const text =
      line("PutObject", `walrust/db/0000/${OBJECT}`, 200) +
      line("PutObject", `walrust/db/0009/${OBJECT}`, 200) +
      line("PutObject", "walrust/db/manifest.json", 200) +
      line("ListObjectsV2", "-", 200) +
      line("PutObject", `walrust/db/0000/${OBJECT}`, 412);
    expect(parseAccessLog(text)).toEqual({
      byKind: { PutObject: 3, ListObjectsV2: 1, "PutObject:412": 1 },
      totalCount: 5,
      incrementCount: 1,
    });
  });

  test("an empty log counts nothing", () => {
    expect(parseAccessLog("")).toEqual({ byKind: {}, totalCount: 0, incrementCount: 0 });
  });
});

describe("system calls", () => {
  test("parsePerfCount reads the count, and null where the kernel did not count", () => {
    const head = "# started on Sat Nov 28 12:08:59 2026\n\n";
    expect(parsePerfCount(`${head}2220,,raw_syscalls:sys_enter,18030383,100.00,,\n`)).toBe(2220);
    expect(parsePerfCount(`${head}<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n`)).toBeNull();
  });

  test("parseStraceCount reads the total, with and without errors", () => {
    const head = "% time     seconds  usecs/call     calls    errors syscall\n";
    const rule = "------ ----------- ----------- --------- --------- ----------------\n";
    const total = (errors: string): string =>
      `100.00    0.012527           5      2201 ${errors.padStart(9)} total\n`;
    expect(parseStraceCount(head + rule + total("285"))).toBe(2201);
    expect(parseStraceCount(head + rule + total(""))).toBe(2201);
    expect(parseStraceCount("")).toBeNull();
  });
});

describe("summarize", () => {
  const sample = (rssBytes: number) => ({
    ...{ rssBytes, anonymousBytes: rssBytes / 2, peakRssBytes: 100 + rssBytes },
    ...{ threadCount: 5, descriptorCount: rssBytes, cpuMs: 0 },
  });
  const samples = [1, 2, 9, 4, 5, 6, 8, 8].map(sample);

  test("takes medians and maxima, and the growth from the first to the last quarter", () => {
    const full = [3, 7].map((pssBytes) => ({ ...sample(1), pssBytes, connectionCount: pssBytes }));
    expect(summarize(samples, full)).toEqual({
      ...{ rssMedianBytes: 5, rssMaxBytes: 9, rssGrowthBytes: 7 },
      ...{ anonymousMedianBytes: 2.5, anonymousMaxBytes: 4.5, pssBytes: 3, peakRssBytes: 109 },
      ...{ descriptorCount: 9, threadCount: 5, connectionCount: 7 },
    });
  });

  test("has no Pss where the kernel refuses it", () => {
    const full = [{ ...sample(1), pssBytes: null, connectionCount: 0 }];
    expect("pssBytes" in summarize(samples, full)).toBe(false);
  });
});

describe("ObjectLog", () => {
  test("reads the capture time of each object once, also of those removed later", () => {
    const folder = join(tempFolder("objects"), "0000");
    const log = new ObjectLog([folder]);
    log.readAll();
    mkdirSync(folder);
    const put = (txid: number): string => {
      const header = encodeLtxHeader({
        ...{
          flags: FLAG_NO_CHECKSUM,
          pageSizeBytes: 4096,
          commit: 1,
          minTxid: txid as Txid,
          maxTxid: txid as Txid,
        },
        ...{ timestampMs: 1000 * txid, preApplyChecksum: 0n as Checksum, walOffset: 0, walSizeBytes: 0 },
        ...{ walSalt1: 0, walSalt2: 0, nodeId: 0n },
      });
      const path = join(folder, `${String(txid).padStart(16, "0")}-${String(txid).padStart(16, "0")}.ltx`);
      writeFileSync(path, header);
      return path;
    };
    const first = put(2);
    put(3);
    log.readAll();
    rmSync(first);
    put(4);
    log.readAll();
    expect(log.objects[0]!.map(({ captureMs }) => captureMs)).toEqual([2000, 3000, 4000]);
  });
});
