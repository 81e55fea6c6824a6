/*
 * The page service: what a compute, or a learner beside the storage, asks over a stream socket.
 *
 * Included by C (pgext) and C++ (storage, learner), so it holds plain C only. All integers are
 * little endian; every struct is packed by construction (no implicit padding). A connection begins
 * with HELLO; then each request gets exactly one answer, in order. Answers echo the request id and
 * the tag, and the client checks both: an answer for another request must never become a page.
 *
 * docs/formats/page-service.md describes the conversation.
 */
#ifndef TIDE_CONTRACTS_PAGE_SERVICE_H
#define TIDE_CONTRACTS_PAGE_SERVICE_H

#include <stdint.h>

#define TIDE_PS_MAGIC 0x45444954u /* "TIDE" */
#define TIDE_PS_VERSION 1u
#define TIDE_PS_MAX_BLOCKS 128u        /* blocks in one GET_PAGES */
#define TIDE_PS_LATEST UINT64_MAX      /* request_lsn: the newest version the store has */
#define TIDE_PS_MAX_WAL (1u << 20)     /* bytes in one WAL */
#define TIDE_PS_MAX_WAIT_MS 60000u     /* a READ_WAL waits no longer */
#define TIDE_PS_NO_RELATION UINT32_MAX /* SIZE: the fork does not exist */

enum TidePsType {
  TIDE_PS_HELLO = 1,     /* TidePsHello        -> HELLO_OK */
  TIDE_PS_GET_PAGES = 2, /* TidePsGetPages     -> PAGES */
  TIDE_PS_REL_SIZE = 3,  /* TidePsRelSize      -> SIZE */
  TIDE_PS_DB_SIZE = 4,   /* TidePsDbSize       -> DB_BYTES */

  /* Of learners: processes that follow a timeline without writing to it (epoch 0). */
  TIDE_PS_READ_WAL = 20,       /* TidePsReadWal       -> WAL */
  TIDE_PS_FLUSHED = 21,        /* (no body)           -> FLUSHED_LSN */
  TIDE_PS_CONFIRM = 22,        /* TidePsLsn           -> CONFIRMED */
  TIDE_PS_TIMELINE = 23,       /* (no body)           -> TIMELINE_IS */
  TIDE_PS_GET_SLRU = 24,       /* TidePsGetSlru       -> SLRU_PAGE */
  TIDE_PS_GET_RELMAP = 25,     /* TidePsGetRelmap     -> RELMAP */
  TIDE_PS_LIST_DATABASES = 26, /* TidePsLsn           -> DATABASES */
  TIDE_PS_LIST_RELATIONS = 27, /* TidePsListRelations -> RELATIONS */

  TIDE_PS_HELLO_OK = 101,    /* TidePsHelloOk */
  TIDE_PS_PAGES = 102,       /* TidePsPages, then block_count * 8192 bytes */
  TIDE_PS_SIZE = 103,        /* TidePsSize */
  TIDE_PS_DB_BYTES = 104,    /* TidePsDbBytes */
  TIDE_PS_WAL = 120,         /* TidePsWal, then byte_count bytes */
  TIDE_PS_FLUSHED_LSN = 121, /* TidePsLsn */
  TIDE_PS_CONFIRMED = 122,   /* TidePsLsn: the highest ever confirmed */
  TIDE_PS_TIMELINE_IS = 123, /* TidePsTimelineIs */
  TIDE_PS_SLRU_PAGE = 124,   /* TidePsBytes: no bytes if the page does not exist, or 8192 */
  TIDE_PS_RELMAP = 125,      /* TidePsBytes: no bytes if there is none, or 512 */
  TIDE_PS_DATABASES = 126,   /* TidePsList, then count * TidePsDatabase */
  TIDE_PS_RELATIONS = 127,   /* TidePsList, then count * TidePsRelation */
  TIDE_PS_ERROR = 199        /* TidePsError, then message_length bytes of UTF-8 */
};

/* Why a request failed. RETRY and WAIT_TIMEOUT: ask again. STALE_EPOCH: this compute was fenced and
 * must end. */
enum TidePsErrorCode {
  TIDE_PS_ERR_INVALID = 1,
  TIDE_PS_ERR_RETRY = 2,
  TIDE_PS_ERR_STALE_EPOCH = 3,
  TIDE_PS_ERR_WAIT_TIMEOUT = 4, /* min_lsn has not arrived in time */
  TIDE_PS_ERR_OUT_OF_RANGE = 5, /* request_lsn is older than the history kept */
  TIDE_PS_ERR_CORRUPT = 6,
  TIDE_PS_ERR_INTERNAL = 7,
  TIDE_PS_ERR_NOT_FOUND = 8 /* to learners: the timeline does not exist (any more) */
};

typedef struct TidePsHeader {
  uint32_t length; /* of everything behind this header, bytes */
  uint16_t type;   /* TidePsType */
  uint16_t flags;  /* 0 */
  uint64_t request_id;
} TidePsHeader; /* 16 bytes */

typedef struct TidePsHello {
  uint32_t magic;
  uint32_t version;
  uint32_t timeline;
  uint32_t reserved;
  uint64_t epoch; /* of the compute; 0: a reader that needs no epoch (tools) */
} TidePsHello;    /* 24 bytes */

typedef struct TidePsHelloOk {
  uint64_t ingested_lsn;
} TidePsHelloOk;

typedef struct TidePsRelFork {
  uint32_t spc;
  uint32_t db;
  uint32_t rel;
  uint32_t fork;
} TidePsRelFork;

typedef struct TidePsGetPages {
  TidePsRelFork rel;
  uint32_t first_block;
  uint32_t block_count; /* 1 .. TIDE_PS_MAX_BLOCKS */
  uint64_t request_lsn; /* version wanted: newest not above this; TIDE_PS_LATEST from a primary */
  uint64_t min_lsn;     /* the store waits until it has ingested this much */
} TidePsGetPages;       /* 40 bytes */

typedef struct TidePsPages {
  TidePsRelFork rel;
  uint32_t first_block;
  uint32_t block_count;
  uint64_t at_lsn; /* LSN the pages are valid at: >= min_lsn */
} TidePsPages;     /* 32 bytes; a block that was never written arrives as zeros */

typedef struct TidePsRelSize {
  TidePsRelFork rel;
  uint64_t request_lsn;
  uint64_t min_lsn;
} TidePsRelSize; /* 32 bytes */

typedef struct TidePsSize {
  TidePsRelFork rel;
  uint32_t block_count; /* or TIDE_PS_NO_RELATION */
  uint32_t reserved;
  uint64_t at_lsn;
} TidePsSize; /* 32 bytes */

typedef struct TidePsDbSize {
  uint32_t db;
  uint32_t reserved;
  uint64_t request_lsn;
  uint64_t min_lsn;
} TidePsDbSize; /* 24 bytes */

typedef struct TidePsDbBytes {
  uint64_t bytes; /* sum over all forks of all relations of the database */
  uint64_t at_lsn;
} TidePsDbBytes;

typedef struct TidePsLsn {
  uint64_t lsn;
} TidePsLsn;

/* WAL bytes from `from` on, as far as they are durable: which may be inside a record. If the record
 * is never finished, the next epoch begins at the end of the last whole one, `boundary`; and a
 * branch may begin anywhere. So whoever reads says what it stands on: the answer goes on at `from`
 * if the bytes there are of the epoch named here, and otherwise begins an epoch anew at `boundary`
 * (or where the branch begins, if that is behind it). */
typedef struct TidePsReadWal {
  uint64_t from;         /* first byte wanted */
  uint64_t boundary;     /* end of the last whole record below `from`; `from` at the beginning */
  uint64_t epoch;        /* that the bytes below `from` are of; 0: none were read */
  uint32_t log_timeline; /* whose epoch that is: the timeline or an ancestor */
  uint32_t max_bytes;    /* 1 .. TIDE_PS_MAX_WAL */
  uint32_t wait_ms;      /* for at least one byte, at most TIDE_PS_MAX_WAIT_MS */
  uint32_t reserved;
} TidePsReadWal; /* 40 bytes */

typedef struct TidePsWal {
  uint64_t begin;        /* LSN of the first byte: `from`, or where another epoch is taken up */
  uint64_t flushed;      /* all WAL of the timeline below is durable */
  uint64_t epoch;        /* whose bytes these are; 0: nobody has written there yet */
  uint64_t epoch_start;  /* first LSN that it wrote */
  uint32_t log_timeline; /* whose epoch it is */
  uint32_t byte_count;   /* 0: nothing came in time */
} TidePsWal;             /* 40 bytes */

typedef struct TidePsTimelineIs {
  uint64_t branch_lsn;    /* first LSN of its own */
  uint64_t oldest_lsn;    /* no state below can be asked for */
  uint64_t ingested_lsn;  /* pages are known up to here without waiting */
  uint64_t confirmed_lsn; /* the highest CONFIRM; 0: none yet */
  int64_t created_us;     /* microseconds since 1970 */
  uint64_t system_id;
  uint32_t timeline;
  uint32_t parent;  /* 0: none */
} TidePsTimelineIs; /* 56 bytes */

typedef struct TidePsGetSlru {
  uint32_t slru; /* 0 clog, 1 multixact offsets, 2 multixact members, 3 commit timestamps */
  uint32_t page;
  uint64_t lsn; /* the state at exactly this LSN; TIDE_PS_LATEST: at the newest ingested */
} TidePsGetSlru;

typedef struct TidePsGetRelmap {
  uint32_t spc; /* 1664 and database 0: of the shared catalogs */
  uint32_t db;
  uint64_t lsn;
} TidePsGetRelmap;

typedef struct TidePsListRelations {
  uint32_t db; /* 0: the shared ones */
  uint32_t reserved;
  uint64_t lsn;
} TidePsListRelations;

typedef struct TidePsBytes {
  uint64_t at_lsn;
  uint32_t byte_count;
  uint32_t reserved;
} TidePsBytes; /* 16 bytes, then byte_count bytes */

typedef struct TidePsList {
  uint64_t at_lsn;
  uint32_t count;
  uint32_t reserved;
} TidePsList; /* 16 bytes, then the items */

typedef struct TidePsDatabase {
  uint32_t spc;
  uint32_t db;
} TidePsDatabase;

typedef struct TidePsRelation {
  uint32_t spc;
  uint32_t rel;         /* relfilenode */
  uint32_t block_count; /* of the main fork */
} TidePsRelation;

typedef struct TidePsError {
  uint32_t code; /* TidePsErrorCode */
  uint32_t message_length;
} TidePsError;

#endif
