//! Every bound, by name; each is checked before anything is allocated.

/// A log leaf, in bytes.
pub const MAX_LEAF_BYTES: usize = 60 * 1024;
/// Signatures on one leaf.
pub const MAX_LEAF_SIGNATURES: usize = 4;
/// Keys that a log has over its whole life.
pub const MAX_LOG_KEYS: usize = 32;
/// The succession file of a log, in bytes: with a checkpoint it fits into one leaf.
pub const MAX_SUCCESSION_BYTES: usize = 40 * 1024;
/// An origin line of a log, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 200;
/// A consent token, in bytes.
pub const MAX_CONSENT_BYTES: usize = 4096;
/// Ranges in one consent token.
pub const MAX_CONSENT_RANGES: usize = 64;
/// The life of a consent token, in seconds.
pub const MAX_CONSENT_LIFE_S: u64 = 30 * 86_400;
/// Consent tokens that one node is granted within [`MEMBER_WINDOW_S`], over all its lanes.
pub const MAX_CONSENTS: u32 = 512;
/// Consent tokens of one node whose refusal is logged within it.
pub const MAX_CONSENT_REFUSALS_LOGGED: u32 = 16;
/// Consent tokens of one node that are refused within it before each further one ends its lane.
pub const MAX_CONSENT_REFUSALS: u32 = 64;
/// Heads that a node which leaves is given at once within it.
pub const MAX_HURRIED_HEADS: u32 = 64;
/// The time in which what a router takes of one node is counted, in seconds.
pub const MEMBER_WINDOW_S: u64 = 600;
/// Proposals of one lane whose node has not answered, or is not ready for what it consented to.
pub const MAX_PROPOSALS_WAITING: usize = 32;
/// Consent tokens of one lane that renew others and whose experts are not loaded yet.
pub const MAX_CONSENTS_RENEWING: usize = 32;
/// Proposals of one lane that are remembered without an answer.
pub const MAX_OPEN_PROPOSALS: usize = 1024;
/// Consent tokens of one lane whose experts are not loaded yet.
pub const MAX_CONSENTS_LOADING: usize = 64;
/// Consent tokens in force under which a node may fetch on one lane: the last ones.
pub const MAX_CONSENTS_FETCHING: usize = 256;
/// Messages of a node that nobody asked for, at once on one lane.
pub const MESSAGE_BURST: u32 = 1024;
/// The same in the long run, a second.
pub const MESSAGES_PER_S: u32 = 16;
/// Accepted disagreement between two clocks, in seconds.
pub const MAX_CLOCK_SKEW_S: u64 = 60;
/// The life of a leaf certificate, in seconds.
pub const MAX_LEAF_CERT_LIFE_S: u64 = 86_400;
/// The shortest life of a leaf certificate that a router's operator may choose, in seconds.
pub const MIN_LEAF_CERT_LIFE_S: u64 = 10;
/// How long after the end of its certificate a node may still renew it, in seconds.
pub const MAX_LATE_RENEWAL_S: u64 = 30 * 86_400;
/// Certificates of one generation that a node is given within [`RENEWAL_WINDOW_S`].
pub const MAX_RENEWALS: u32 = 4;
/// The time in which they are counted, in seconds.
pub const RENEWAL_WINDOW_S: u64 = 600;
/// Of the time for which a certificate may be used, the part that is over before the next one is given: one in so many.
pub const RENEWAL_EARLIEST: u64 = 8;
/// One enrolment message, in bytes.
pub const MAX_ENROL_BYTES: usize = 16 * 1024;
/// A control message on a lane, in bytes.
pub const MAX_CONTROL_BYTES: usize = 64 * 1024;
/// A dispatch or combine frame on a lane, in bytes (header and body).
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Rows in one dispatch frame.
pub const MAX_FRAME_ROWS: usize = 512;
/// Experts that one row may name on one node.
pub const MAX_ROW_EXPERTS: usize = 64;
/// Connections of one node at a time.
pub const MAX_NODE_CONNECTIONS: usize = 2;
/// How long a connection may take from its first packet to the end of its handshake, in milliseconds.
pub const MAX_HANDSHAKE_MS: u64 = 5_000;
/// How long a connection may take from its first packet to its first message, in milliseconds.
pub const MAX_ARRIVAL_MS: u64 = 10_000;
/// Connections of nobody known yet, at a time.
pub const MAX_ARRIVING: usize = 64;
/// Those of them whose address was not proved.
pub const MAX_ARRIVING_UNPROVED: usize = 16;
/// Those of them that come from one prefix.
pub const MAX_ARRIVING_OF_PREFIX: usize = 16;
/// Connections a second whose address need not be proved, as many at once.
pub const UNPROVED_PER_S: u32 = 32;
/// Connections a second that one prefix may begin.
pub const PREFIX_PER_S: u32 = 16;
/// Connections that one prefix may begin at once.
pub const PREFIX_BURST: u32 = 64;
/// Prefixes that are remembered at a time.
pub const MAX_PREFIXES: usize = 4096;
/// Addresses a second that are asked for proof, as many at once.
pub const RETRIES_PER_S: u32 = 2_000;
/// First packets that wait to be looked at.
pub const MAX_FIRST_PACKETS: usize = 256;
/// Fetch streams that one side may have open on a connection at a time.
pub const MAX_FETCH_STREAMS: usize = 4;
/// A request on a fetch stream, in bytes.
pub const MAX_FETCH_REQUEST_BYTES: usize = 1024;
/// The header of an answer on a fetch stream, in bytes.
pub const MAX_FETCH_HEADER_BYTES: usize = 1024;
/// Sources that one request may exclude.
pub const MAX_FETCH_NOT_FROM: usize = 16;
/// Chunks of one answer that may be under way and not yet taken.
pub const MAX_FETCH_CHUNKS_AHEAD: usize = 4;
/// How long either side of a fetch stream waits for a byte of the other, in milliseconds.
pub const FETCH_IDLE_MS: u64 = 10_000;
/// How long one chunk of a fetch may take until it was taken, in milliseconds: four streams of a slow line share it.
pub const FETCH_CHUNK_MS: u64 = 120_000;
/// The name of a repository or of its revision, in bytes.
pub const MAX_REPOSITORY_BYTES: usize = 200;
/// Nodes on a deny list.
pub const MAX_DENIED_NODES: usize = 1024;
/// Certificates on a deny list.
pub const MAX_DENIED_SERIALS: usize = 256;
/// Consent tokens on a deny list.
pub const MAX_DENIED_CONSENTS: usize = 512;
/// Lowest epochs on a deny list.
pub const MAX_DENIED_EPOCHS: usize = 128;
/// Routers on the root's deny list.
pub const MAX_DENIED_ROUTERS: usize = 256;
/// Issuing CAs on the root's deny list.
pub const MAX_DENIED_AUTHORITIES: usize = 256;
/// For how long a deny list may say that it holds, in seconds.
pub const MAX_DENY_LIFE_S: u64 = 60;
/// The reason of a change of the deny list, in bytes.
pub const MAX_DENY_REASON_BYTES: usize = 500;
/// Requests open on one lane at a time.
pub const MAX_OPEN_REQUESTS: usize = 256;
/// The width of the replay window of a lane's counters.
pub const REPLAY_WINDOW: u64 = 1024;
/// Tokens reserved from a daily quota at a time.
pub const QUOTA_LEASE_TOKENS: u64 = 256;
/// Receipts that a router may owe a node before the node gives no more work.
pub const MAX_UNSETTLED_RECEIPTS: usize = 8;
/// How long one receipt may stay unsettled, in milliseconds.
pub const MAX_UNSETTLED_MS: u64 = 10_000;
/// Between closing a request and its receipt standing in the router's log, in milliseconds.
pub const RECEIPT_INCLUDE_MS: u64 = 60_000;
/// Tokens after which an open request yields an interim receipt.
pub const RECEIPT_EVERY_TOKENS: u64 = 256;
/// Nodes that served one request.
pub const MAX_REQUEST_NODES: usize = 1024;
/// For how long after the entry that takes its payment back a lot is still in force, in seconds: whoever holds its tokens meanwhile has
/// not seen that entry.
pub const LOT_GRACE_S: u64 = 60;
/// Lots debited by one request.
pub const MAX_REQUEST_LOTS: usize = 64;
/// Providers in one entry of earnings.
pub const MAX_EARNINGS: usize = 1_000;
/// A payment provider's word for something, in bytes.
pub const MAX_PSP_WORD_BYTES: usize = 255;
/// Why a share is contested, or stands, in bytes.
pub const MAX_DISPUTE_REASON_BYTES: usize = 500;
/// Nodes in one uptime entry.
pub const MAX_UPTIME_NODES: usize = 1500;
/// Of words that somebody else wrote, the letters that are shown.
pub const MAX_SHOWN_CHARS: usize = 1000;
/// An `Idempotency-Key`, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// How long an `Idempotency-Key` is remembered, in seconds.
pub const IDEMPOTENCY_KEY_LIFE_S: u64 = 86_400;
/// How long the answer to a request with an `Idempotency-Key` is kept to be given again, in seconds.
pub const IDEMPOTENCY_ANSWER_LIFE_S: u64 = 600;
/// The text of such answers that a router keeps, in bytes; the oldest go first.
pub const MAX_IDEMPOTENCY_KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Keys of one account that are remembered.
pub const MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT: usize = 4096;
/// Keys of all accounts that are remembered.
pub const MAX_IDEMPOTENCY_KEYS: usize = 65_536;
/// The body of an HTTP request, in bytes.
pub const MAX_HTTP_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Layers of a model.
pub const MAX_LAYERS: u32 = 512;
/// Experts in one layer of a model.
pub const MAX_EXPERTS: u32 = 1024;
/// One certificate, in bytes.
pub const MAX_CERT_BYTES: usize = 4096;
/// Issuing CAs of a network that a side remembers, so that it checks each once.
pub const MAX_MET_CAS: usize = 8;
/// Leaves that it remembers: of about 1,200 bytes each.
pub const MAX_MET_LEAVES: usize = 1024;
/// Identity keys that it remembers: of about 300 bytes each.
pub const MAX_MET_KEYS: usize = 4096;
/// The life of an issuing CA's certificate, in seconds.
pub const MAX_CA_CERT_LIFE_S: u64 = 90 * 86_400;
/// The life of the network root's certificate, in seconds: ten years of 365 days and two leap days.
pub const ROOT_CERT_LIFE_S: u64 = 3652 * 86_400;
/// How long before its issue a certificate begins, for clocks that are behind, in seconds.
pub const NOT_BEFORE_MARGIN_S: u64 = 300;
/// DNS names in a router's certificate.
pub const MAX_LEAF_DNS_NAMES: usize = 8;
/// The verifier key of a log, in bytes.
pub const MAX_VKEY_BYTES: usize = 320;
/// The life of a join token where nothing else is said, in seconds.
pub const JOIN_TOKEN_LIFE_S: u64 = 3600;
/// For how long a join token gives the same node the same answer again, in seconds.
pub const ENROL_REPEAT_S: u64 = 600;
/// Refusals of one join token that a router logs.
pub const MAX_ENROL_REFUSALS: u32 = 16;
/// Orders that a node remembers so that none is worked twice.
pub const MAX_REMEMBERED_OPENS: usize = 65_536;
/// How old an order may be when it arrives, in milliseconds.
pub const MAX_OPEN_AGE_MS: u64 = 60_000;
/// Providers in one what-if split.
pub const MAX_SPLIT_PROVIDERS: usize = 100_000;
/// The id of a provider in a what-if split, in bytes.
pub const MAX_SPLIT_ID_BYTES: usize = 200;
/// The pool of a what-if split, in cents.
pub const MAX_SPLIT_POOL_CENTS: i64 = 1_000_000_000_000_000;
/// Tokens of one provider in a what-if split.
pub const MAX_SPLIT_TOKENS: i64 = 1_000_000_000_000_000_000;
/// Uptime of one provider in a what-if split, in seconds: a leap year.
pub const MAX_SPLIT_UPTIME_S: i64 = 366 * 86_400;
/// Requests that one tombstone names.
pub const MAX_TOMBSTONE_REQUESTS: usize = 1024;
/// Entries that one `prune` names as staying, so that it fits a leaf.
pub const MAX_PRUNE_KEPT: usize = 4096;
/// For how many days entries are kept unless their operator says otherwise: ten years, leap days included.
pub const DEFAULT_KEEP_ENTRY_DAYS: u64 = 3653;
/// Values in an activation row of a model.
pub const MAX_HIDDEN: usize = 65_536;
/// Values between the two halves of an expert.
pub const MAX_INNER: usize = 1 << 20;
/// Token ids of a model.
pub const MAX_VOCABULARY: usize = 1 << 20;
/// Positions of one sequence.
pub const MAX_CONTEXT: usize = 1 << 20;
/// Files of one model's weights.
pub const MAX_WEIGHTS_FILES: usize = 1024;
/// The header of one weights file, in bytes.
pub const MAX_WEIGHTS_HEADER_BYTES: usize = 32 * 1024 * 1024;
/// One of the text files of a checkpoint (configuration, tokenizer, template), in bytes.
pub const MAX_CHECKPOINT_TEXT_BYTES: u64 = 64 * 1024 * 1024;
/// The text of one token of a vocabulary, in bytes; every way to cut it is looked at.
pub const MAX_TOKEN_BYTES: usize = 1024;
/// A model's manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 32 * 1024 * 1024;
/// The name of a model, and each part of the name of a repository, in bytes.
pub const MAX_MODEL_NAME_BYTES: usize = 100;
/// Files that a model's manifest names: a split model has one for each expert, and the dense one.
pub const MAX_MANIFEST_FILES: usize = MAX_MANIFEST_EXPERTS + 1;
/// Experts of all layers together that a model's manifest names.
pub const MAX_MANIFEST_EXPERTS: usize = 65_536;
/// The name of a file in a manifest, in bytes.
pub const MAX_FILE_NAME_BYTES: usize = 200;
/// One chunk of a shard, in bytes; the last one of a shard may be shorter.
pub const SHARD_CHUNK_BYTES: usize = 1024 * 1024;
/// Token ids whose text may wait for the rest of a character.
pub const MAX_PENDING_TOKENS: usize = 8;
/// Stop strings of one request.
pub const MAX_STOPS: usize = 4;
/// Steps of a chat template.
pub const MAX_TEMPLATE_STEPS: u64 = 4_000_000;
/// The head of a GGUF file (settings, tokenizer, tensor table), in bytes.
pub const MAX_GGUF_HEADER_BYTES: usize = 32 * 1024 * 1024;
/// Settings of a GGUF file.
pub const MAX_GGUF_SETTINGS: usize = 65_536;
/// Tensors of a GGUF file.
pub const MAX_GGUF_TENSORS: usize = 1 << 18;
/// Dimensions of a tensor in a GGUF file.
pub const MAX_GGUF_DIMENSIONS: usize = 4;
/// Arrays inside each other in a GGUF file's settings.
pub const MAX_GGUF_DEPTH: usize = 4;
/// The key of a GGUF file's setting, in bytes.
pub const MAX_GGUF_KEY_BYTES: usize = 65_535;
/// The name of a tensor in a GGUF file, in bytes.
pub const MAX_GGUF_NAME_BYTES: usize = 256;
/// What the offsets in a GGUF file may be multiples of, in bytes.
pub const MAX_GGUF_ALIGNMENT: usize = 65_536;
