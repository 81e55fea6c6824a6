/*
 * The redo ring: how the page store hands pages and WAL records to a redo helper and gets pages
 * back.
 *
 * Included by C (pgext/redo) and C++ (src/redo), so it holds plain C only. The ring is one sealed
 * memfd, mapped by both; it holds one batch at a time:
 *
 *   0        TideRedoHeader
 *   4096     TideRedoPage[page_count]
 *   above    page images (8192 bytes each, base in and result out in the same place) and records,
 *            where the page descriptors say
 *
 * The pool writes a batch, then adds one to `request` and wakes it; the helper sets `response` to
 * that number when all pages are done and wakes it. The helper believes the pool but checks every
 * bound; the pool believes nothing it reads: a helper that fell to hostile WAL owns these bytes.
 *
 * docs/formats/redo-ring.md describes the conversation.
 */
#ifndef TIDE_CONTRACTS_REDO_RING_H
#define TIDE_CONTRACTS_REDO_RING_H

#include <stdint.h>

#define TIDE_REDO_MAGIC 0x4f444552u /* "REDO" */
#define TIDE_REDO_VERSION 1u
#define TIDE_REDO_PAGES_OFFSET 4096u
#define TIDE_REDO_PAGE_BYTES 8192u
#define TIDE_REDO_ERROR_BYTES 448u

enum TideRedoState {
  TIDE_REDO_STARTING = 0, /* written by the pool before the helper exists */
  TIDE_REDO_SERVING = 1,  /* sandboxed, takes batches */
  TIDE_REDO_ENDED =
      2 /* reported an error for the page it worked on, then ended to shed its state */
};

enum TideRedoStatus {
  TIDE_REDO_NOT_DONE = 0,
  TIDE_REDO_OK = 1,
  TIDE_REDO_REFUSED =
      2, /* the request is wrong (record does not touch the page, no base image, ...) */
  TIDE_REDO_FAILED = 3 /* PostgreSQL raised an error, or the record did not apply */
};

#define TIDE_REDO_HAS_BASE 1u

typedef struct TideRedoHeader {
  uint32_t magic;
  uint32_t version;
  uint64_t bytes;      /* of the whole memfd */
  uint32_t parent_pid; /* the pool's process: the helper ends when it is no longer its child */
  uint32_t state;      /* TideRedoState, written by the helper */
  uint32_t request;    /* futex: number of the newest batch, written by the pool */
  uint32_t response;   /* futex: number of the newest batch done, written by the helper */
  uint32_t page_count; /* of the batch */
  uint32_t done_pages; /* pages [0, done_pages) are finished; page done_pages is in work */
} TideRedoHeader;

typedef struct TideRedoPage {
  uint32_t spc;
  uint32_t db;
  uint32_t rel;
  uint32_t fork;
  uint32_t block;
  uint32_t flags;          /* TIDE_REDO_HAS_BASE */
  uint32_t record_count;   /* at least 1 */
  uint32_t status;         /* TideRedoStatus, written by the helper */
  uint64_t records_offset; /* of the first TideRedoRecord, a multiple of 8 */
  uint64_t records_bytes;  /* of all of them with padding */
  uint64_t image_offset;   /* of the page image, a multiple of 8 */
  uint32_t error_length;   /* of `error`, 0 when OK */
  uint32_t reserved;
  char error[TIDE_REDO_ERROR_BYTES]; /* UTF-8, not terminated */
} TideRedoPage;                      /* 512 bytes */

/* Then `length` bytes of one raw WAL record, padded to a multiple of 8. */
typedef struct TideRedoRecord {
  uint64_t end_lsn; /* the page's LSN once this record is applied */
  uint32_t length;
  uint32_t reserved;
} TideRedoRecord;

#endif
