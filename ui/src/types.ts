// What the door tells, as `crates/proto/src/view.rs` and `crates/gateway/src/dashboard/look.rs` write it.
// A field that is not known is absent, never null: the feed leaves nulls out.

export interface Share {
  /** `on`, `paused`, `draining` or `off`; newer versions may know more. */
  state: string;
  code?: string;
  reason: string;
  until?: string;
}

export interface Server {
  id: string;
  kind: string;
  url?: string;
  link?: string;
  version?: string;
  health: string;
  reason?: string;
  slots?: number;
  in_flight: number;
  models: number;
  loaded: number;
}

export interface Status {
  name: string;
  version: string;
  share: Share;
  leader?: { name: string; self: boolean };
  nodes: number;
  models: number;
  backends: Server[];
  in_flight: number;
  queued: number;
  uptime_s: number;
  listening: string[];
  data_dir: string;
}

export interface Gpu {
  vendor?: string;
  name?: string;
  memory_total?: number;
  memory_used?: number;
  unified?: boolean;
  busy_percent?: number;
}

export interface Machine {
  os?: string;
  arch?: string;
  model?: string;
  chip?: string;
  cores_physical?: number;
  cores_logical?: number;
  memory_total?: number;
  memory_available?: number;
  cpu_percent?: number;
  disk_total?: number;
  disk_available?: number;
  gpus?: Gpu[];
  on_battery?: boolean;
  battery_percent?: number;
  throttled?: boolean;
}

export interface Node {
  name: string;
  id: string;
  self: boolean;
  leads: boolean;
  /** `here`, `elsewhere`, `left` or `gone`. */
  presence: string;
  silent_for_s?: number;
  version?: string;
  share?: Share;
  address?: string;
  rtt_ms?: number;
  models?: number;
  loaded?: number;
  machine?: Machine;
  trouble?: string;
  backends?: Server[];
  in_flight?: number;
  queued?: number;
}

export interface Loaded {
  context?: number;
  size?: number;
  size_vram?: number;
  expires_at?: string;
}

export interface Model {
  name: string;
  node: string;
  backend: string;
  digest?: string;
  size?: number;
  quantization?: string;
  parameter_size?: string;
  capabilities: string[];
  context_trained?: number;
  loaded?: Loaded;
}

export interface Lane extends Model {
  /** `loaded`, `loading`, `draining` or `waiting`. */
  state: string;
  in_flight: number;
  waiting: number;
  slots?: number;
  reason?: string;
  eta_s?: number;
}

export interface Trace {
  request_id: string;
  model: string;
  original_model: string;
  node_id: string;
  score?: number;
  scores_breakdown?: Record<string, number>;
  status: string;
  latency_ms?: number;
  time_to_first_token_ms?: number;
  prompt_tokens?: number;
  completion_tokens?: number;
  retry_count: number;
  fallback_used: boolean;
  excluded_nodes: string[];
  client_ip: string;
  client_key?: string;
  original_format: string;
  error_message?: string;
  timestamp: number;
  tags: string[];
  finish_reason?: string;
  estimated_tokens?: number;
  backend?: string;
  path?: string;
  http_status?: number;
  queued_ms?: number;
  app?: string;
  context?: number;
  context_verdict?: string;
  loaded_ms?: number;
  session?: string;
}

export interface Predicted {
  load_ms: number;
  queue_ms: number;
  prefill_ms: number;
  decode_ms: number;
  link_ms: number;
}

export interface Candidate {
  node?: string;
  backend: string;
  in_flight: number;
  slots: number;
  loaded: boolean;
  thermal: number;
  memory_fit: number;
  queue_depth: number;
  wait_time: number;
  role_affinity: number;
  availability_trend: number;
  context_fit: number;
  predicted?: Predicted;
}

export interface Attempt {
  node?: string;
  backend: string;
  error?: string | null;
  took_ms: number;
}

export interface Why extends Trace {
  candidates: Candidate[];
  attempts: Attempt[];
  unretriable: boolean;
  request_bytes?: number;
  response_bytes?: number;
}

export interface Setting {
  name: string;
  value: string;
  source: string;
  about: string;
  default?: string | null;
}

export interface Check {
  check: string;
  /** `warning` or `problem`; what is well is not told. */
  state: string;
  found: string;
  advice?: string;
}

export interface Device {
  name: string;
  id: string;
  self: boolean;
  role: string;
  seniority: number;
  presence: string;
}

export interface Totals {
  total_requests: number;
  completed: number;
  failed: number;
  avg_latency_ms?: number;
  avg_ttft_ms?: number;
  total_prompt_tokens: number;
  total_completion_tokens: number;
  models: number;
  requests_24h: number;
}

export interface Snapshot {
  self?: Status;
  fleet?: { id?: string; name?: string; nodes_total: number; nodes_online: number; models_loaded: number; requests_active: number };
  leader?: { name?: string; self: boolean; node_id: string; epoch: number };
  share?: Share;
  nodes?: Node[];
  models?: Model[];
  lanes?: Lane[];
  queue?: { pending: number; in_flight: number; completed: number; failed: number };
  devices?: Device[];
  traces?: Trace[];
  totals?: Totals;
  doctor?: Check[];
}

export interface Hour {
  hour_bucket: number | string;
  request_count: number;
  avg_latency_ms?: number | null;
  total_prompt_tokens?: number | null;
  total_completion_tokens?: number | null;
}

/** A rule by which this machine pauses by itself. */
export interface Rule {
  id: string;
  enabled: boolean;
  /** For instance "Pause on battery". */
  about: string;
  setting?: string;
  value?: string;
  /** `settings`, or `owner` where that was changed here. */
  source?: string;
  /** `quiet`, `rising`, `active` or `leaving`. */
  phase?: string;
  /** Whether this machine can tell. */
  known?: boolean;
  settings?: { name: string; value: string }[];
}

/** A program that holds a camera or a microphone. */
export interface Holder {
  app: string;
  for_s: number;
  /** `counts`, `settling`, `ambient` or `ignored`. */
  standing: string;
}

/** `GET /fleet/share`. */
export interface Sharing extends Share {
  rule?: string;
  override_until?: string;
  guests?: number;
  rules?: Rule[];
  evidence?: { cameras?: Holder[] | null; microphones?: Holder[] | null };
  ignored?: string[];
}
