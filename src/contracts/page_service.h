/*
 * The page service: what a compute asks the page store, over a stream socket.
 *
 * Included by C (pgext) and C++ (pagestore), so it holds plain C only. All integers are little
 * endian; every struct is packed by construction (no implicit padding). A connection begins with
 * HELLO; then each request gets exactly one answer, in order. Answers echo the request id and the
 * tag, and the client checks both: an answer for another request must never become a page.
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
#define TIDE_PS_NO_RELATION UINT32_MAX /* SIZE: the fork does not exist */

enum TidePsType {
  TIDE_PS_HELLO = 1,      /* TidePsHello        -> HELLO_OK */
  TIDE_PS_GET_PAGES = 2,  /* TidePsGetPages     -> PAGES */
  TIDE_PS_REL_SIZE = 3,   /* TidePsRelSize      -> SIZE */
  TIDE_PS_DB_SIZE = 4,    /* TidePsDbSize       -> DB_BYTES */
  TIDE_PS_HELLO_OK = 101, /* TidePsHelloOk */
  TIDE_PS_PAGES = 102,    /* TidePsPages, then block_count * 8192 bytes */
  TIDE_PS_SIZE = 103,     /* TidePsSize */
  TIDE_PS_DB_BYTES = 104, /* TidePsDbBytes */
  TIDE_PS_ERROR = 199     /* TidePsError, then message_length bytes of UTF-8 */
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
  TIDE_PS_ERR_INTERNAL = 7
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

typedef struct TidePsError {
  uint32_t code; /* TidePsErrorCode */
  uint32_t message_length;
} TidePsError;

#endif
