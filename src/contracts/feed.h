/*
 * The feed: one small file, mapped by a compute and by the storage, that says how far each side is.
 *
 * It exists in the local form of durability, where the compute writes its WAL into a directory that
 * belongs to the WAL store: the compute publishes what it has flushed, and the store reads the same
 * segment files up to there. Publishing is one atomic maximum, cheap enough for every commit, and
 * happens before the client is answered: so whoever reads `flush_lsn` after an acknowledgement sees
 * at least that commit.
 *
 * Whoever in the storage waits for WAL is woken by the publishing itself: it counts itself in
 * `waiters`, notes `signal`, looks at `flush_lsn`, and sleeps on `signal` (a futex) only if there
 * is nothing new. The compute publishes, then looks at `waiters`, and if there are any adds one to
 * `signal` and wakes them. All four accesses are sequentially consistent, so one of the two sides
 * always sees the other.
 *
 * Plain C, as pgext includes it. Fields are accessed with __atomic builtins only.
 */
#ifndef TIDE_CONTRACTS_FEED_H
#define TIDE_CONTRACTS_FEED_H

#include <stdint.h>

#define TIDE_FEED_MAGIC 0x44454546u /* "FEED" */
#define TIDE_FEED_VERSION 1u
#define TIDE_FEED_SIZE 4096u

typedef struct TideFeed {
  uint32_t magic;
  uint32_t version;
  uint64_t epoch;

  uint64_t flush_lsn __attribute__((aligned(64))); /* compute: WAL below this is durable */

  uint64_t ingested_lsn __attribute__((aligned(64))); /* storage: pages are known up to here */
  uint64_t durable_lsn; /* storage: below this the page store no longer needs the WAL */
  uint64_t throttle_us; /* storage: a writer sleeps this long per 64 KiB of WAL; 0 = none */
  uint32_t fenced;      /* storage: 1 once a newer epoch exists; the compute must end itself */

  uint32_t waiters __attribute__((aligned(64))); /* storage: how many wait for flush_lsn */
  uint32_t signal; /* futex: both sides add one, then wake, if somebody waits */
} TideFeed;

#endif
