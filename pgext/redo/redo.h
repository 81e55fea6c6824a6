/*
 * The redo role: stock PostgreSQL's redo functions applied to single pages, in a sandbox.
 */
#ifndef TIDEWATER_REDO_H
#define TIDEWATER_REDO_H

#include "postgres.h"

#include "contracts/redo_ring.h"
#include "storage/block.h"
#include "storage/buf.h"
#include "storage/relfilenode.h"

/*
 * memory_smgr.c: a storage manager whose only real block is the target. Every other block reads as a dummy
 * page: initialised, empty, with an LSN above every record's, so redo finds it "already applied" and leaves it
 * alone. Every relation fork exists and has the greatest possible size, so redo extends nothing.
 */
extern void redo_smgr_install(void);

/* Makes this block the target, with `base` as its content or all zeros. Not while another one is. */
extern void redo_target_begin(RelFileNode rnode, ForkNumber fork, BlockNumber block, const char *base);

/* Pins the target's buffer. Between two records only: redo takes cleanup locks. */
extern Buffer redo_target_pin(void);

/* The buffer that held the target last: a hint for redo's own look-up. */
extern Buffer redo_target_hint(void);

/* Copies the target out and turns its buffer into a dummy. */
extern void redo_target_end(char *out);

/* Turns a block that a record has initialised or restored into a dummy again. */
extern void redo_make_dummy(RelFileNode rnode, ForkNumber fork, BlockNumber block);

/*
 * apply.c: one page. Fills in `page->status` and the error text; leaves by ereport(ERROR) when PostgreSQL's redo
 * does, after which this process is not fit for another page.
 */
extern void redo_apply_setup(void);
extern void redo_apply_page(char *ring, uint64 ring_bytes, TideRedoPage *page);

/* sandbox.c: from here on this process can compute, write to stderr and end; nothing else. */
extern void redo_enter_sandbox(void);

#endif
