/**
 * PURE: prices of object storage at four providers, from their public price lists, in US dollars without
 * taxes, for the first tier of the standard class.
 *
 * Free allowances are listed and not subtracted: they hold for an account, not for a database, and an account
 * with databases to back up has usually used them up.
 *
 * Each provider sorts the requests into classes of its own:
 *
 *   request of walrust                                S3          Tigris   R2       B2
 *   put: PutObject, and Create, UploadPart, Complete  PUT, POST   A        A        A, free
 *   list: ListObjectsV2                               LIST        A        A        C, free
 *   get: GetObject, HeadObject, HeadBucket            GET         B        B        B and C, free
 *   delete: DeleteObjects, 1,000 keys                 POST        free     free     A, free
 */

/** A number for each class of requests. */
export interface RequestCounts {
  readonly put: number;
  readonly list: number;
  /** Includes HEAD. */
  readonly get: number;
  readonly delete: number;
}

/** The prices of one provider. */
export interface ProviderPrices {
  readonly id: "s3" | "tigris" | "r2" | "b2";
  readonly label: string;
  /** Dollars for one GB stored for one month. */
  readonly storagePerGb: number;
  /** Bytes of a GB, as the provider defines it. */
  readonly gbBytes: number;
  /** Dollars for one million requests of each class. */
  readonly requestsPerMillion: RequestCounts;
  /** Dollars for one GB that leaves the provider's network; 0: free. */
  readonly egressPerGb: number;
  /** Free egress, as a multiple of the stored bytes. */
  readonly egressFreeTimesStored: number;
  /** The free allowance of each month, as text; subtracted nowhere. */
  readonly freeAllowance: string;
  readonly source: string;
  /** Month of the price list, as YYYY-MM. */
  readonly asOf: string;
}

const GB = 1_000_000_000;
const GIB = 1_073_741_824;

/**
 * The price lists. A GB is 2^30 bytes where the provider's own examples count so (AWS: 10 TB are
 * 10,995,116,277,760 bytes), otherwise 10^9, the dearer reading.
 */
export const PROVIDERS: readonly ProviderPrices[] = [
  {
    id: "s3",
    label: "Amazon S3 (us-east-1, Standard)",
    // First 50 TB a month.
    storagePerGb: 0.023,
    gbBytes: GIB,
    // PUT, COPY, POST, LIST $0.005 a thousand, GET and all others $0.0004. DELETE is free. DeleteObjects is a
    // POST, and the list does not say that it is free: priced as a POST, it costs some cents at most.
    requestsPerMillion: { put: 5, list: 5, get: 0.4, delete: 5 },
    // First 10 TB to the internet; to machines in the same region nothing.
    egressPerGb: 0.09,
    egressFreeTimesStored: 0,
    freeAllowance: "100 GB of egress a month",
    source: "https://aws.amazon.com/s3/pricing/",
    asOf: "2026-11",
  },
  {
    id: "tigris",
    label: "Tigris (Standard)",
    storagePerGb: 0.02,
    gbBytes: GB,
    // Class A (PUT, COPY, POST, LIST) $0.005 a thousand, class B (GET and all others) $0.0005; DELETE is
    // free.
    requestsPerMillion: { put: 5, list: 5, get: 0.5, delete: 0 },
    egressPerGb: 0,
    egressFreeTimesStored: 0,
    freeAllowance: "5 GB, 10,000 class A and 100,000 class B requests a month",
    source: "https://www.tigrisdata.com/docs/pricing/",
    asOf: "2026-11",
  },
  {
    id: "r2",
    label: "Cloudflare R2 (Standard)",
    storagePerGb: 0.015,
    gbBytes: GB,
    // Class A (ListObjects, PutObject, and each request of a multipart upload) $4.50 a million, class B
    // (GetObject, HeadObject) $0.36; deletes are free. Cloudflare rounds up to whole millions and whole
    // GB-months, for the account as a whole. This is left out.
    requestsPerMillion: { put: 4.5, list: 4.5, get: 0.36, delete: 0 },
    egressPerGb: 0,
    egressFreeTimesStored: 0,
    freeAllowance: "10 GB, 1 million class A and 10 million class B requests a month",
    source: "https://developers.cloudflare.com/r2/pricing/",
    asOf: "2026-11",
  },
  {
    id: "b2",
    label: "Backblaze B2 (pay as you go)",
    // $6.95 a TB for 30 days since 2026, when requests of classes A, B and C became free.
    storagePerGb: 0.00695,
    gbBytes: GB,
    requestsPerMillion: { put: 0, list: 0, get: 0, delete: 0 },
    egressPerGb: 0.01,
    egressFreeTimesStored: 3,
    freeAllowance: "10 GB, and egress of three times the stored bytes",
    source: "https://www.backblaze.com/cloud-storage/pricing",
    asOf: "2026-09",
  },
];

/** The use of one month. */
export interface MonthlyUse {
  readonly requests: RequestCounts;
  readonly stored: { readonly totalBytes: number };
  readonly downloadedBytes: number;
}

/** The cost of one month, in dollars. */
export interface MonthlyCost {
  readonly storage: number;
  readonly requests: number;
  /** Storage and requests. */
  readonly total: number;
  /** The additional cost of reading back when walrust runs outside the provider's network. */
  readonly egress: number;
}

/** Prices a month of this use at a provider. */
export function monthlyCost(use: MonthlyUse, provider: ProviderPrices): MonthlyCost {
  const { storagePerGb, gbBytes, requestsPerMillion, egressPerGb, egressFreeTimesStored } = provider;
  const storage = (use.stored.totalBytes / gbBytes) * storagePerGb;
  const millionths =
    use.requests.put * requestsPerMillion.put +
    use.requests.list * requestsPerMillion.list +
    use.requests.get * requestsPerMillion.get +
    use.requests.delete * requestsPerMillion.delete;
  const requests = millionths / 1_000_000;
  const paidBytes = Math.max(0, use.downloadedBytes - egressFreeTimesStored * use.stored.totalBytes);
  return { storage, requests, total: storage + requests, egress: (paidBytes / gbBytes) * egressPerGb };
}
