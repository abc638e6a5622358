/**
 * Lists every setting with its resolved value and the origin of the value.
 */
import { resolveStore, resolveWebhookOrNull } from "../../config/config.ts";
import {
  BY_DEFAULT,
  fileOrigin,
  type Origin,
  type Resolved,
  resolveOptions,
  type Setting,
  type Sources,
} from "../../config/resolve.ts";
import type { OptionGroup, OptionSpec } from "../../config/settings/option-spec.ts";
import { valueText } from "../../config/settings/option-text.ts";
import { keyName, SECTIONS } from "../../config/settings/options.ts";
import { STORE_OPTIONS } from "../../config/settings/settings.ts";
import { WEBHOOK_OPTIONS } from "../../config/settings/settings-notify.ts";

/** A resolved setting. */
export interface ShownSetting {
  readonly section: string;
  readonly key: string;
  /** As in walrust.toml; of a secret, only that it is set; null: not set. */
  readonly value: string | number | boolean | readonly string[] | null;
  readonly text: string | null;
  readonly origin: Origin["kind"];
  /** `--bucket`, `AWS_REGION`, `walrust.toml:5:3`, `default`. */
  readonly from: string;
}

/** All settings outside [[databases]], and each webhook. */
export function shownSettings(sources: Sources): ShownSetting[] {
  return SECTIONS.flatMap((section) => {
    if (section.name === "databases") return [];
    if (section.name === "webhooks") return shownWebhooks(sources, section.options);
    const isStore = section.options === STORE_OPTIONS;
    const resolved = isStore ? resolveStore(sources) : resolveOptions(sources, section.options);
    return shownGroup(section.name, section.options, resolved);
  });
}

/** The settings of a group, in the order of the table. */
export function shownGroup<T extends OptionGroup>(
  section: string,
  options: T,
  resolved: Resolved<T>,
): ShownSetting[] {
  return Object.entries(options).map(([name, spec]) => shown(section, spec, resolved[name]!));
}

function shownWebhooks(sources: Sources, options: OptionGroup): ShownSetting[] {
  const { file } = sources;
  const webhooks = file?.webhooks ?? [];
  const inFile = webhooks.flatMap(({ values }, index) =>
    Object.values(options).map((spec) => {
      const found = values.get(spec.key ?? "");
      const origin = found === undefined || file === null ? BY_DEFAULT : fileOrigin(file, found);
      return shown(`webhooks.${index}`, spec, { value: found?.value ?? spec.default, origin });
    }),
  );
  const oneMore = resolveWebhookOrNull(sources);
  if (oneMore === null) return inFile;
  return [...inFile, ...shownGroup(`webhooks.${webhooks.length}`, WEBHOOK_OPTIONS, oneMore)];
}

function shown(section: string, spec: OptionSpec, { value, origin }: Setting<unknown>): ShownSetting {
  const text = valueText(spec, value);
  return {
    section,
    key: keyName(spec),
    value: shownValue(spec, value, text),
    text,
    origin: origin.kind,
    from: origin.text,
  };
}

/** Numbers and switches in the unit of walrust.toml; any other value as text. */
function shownValue(spec: OptionSpec, value: unknown, text: string | null): ShownSetting["value"] {
  if (typeof value === "boolean") return value;
  if (spec.kind === "durations" || spec.kind === "texts") return text?.split(", ") ?? null;
  if (typeof value !== "number") return text;
  return spec.kind === "seconds" || spec.kind === "duration" ? value / 1000 : value;
}
