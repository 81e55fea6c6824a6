/*
 * Which rewritten pages the local cache may give up: those that WAL describes in full, for as much as
 * any running transaction or vacuum can tell.
 */
#ifndef TIDEWATER_COMPUTE_PAGE_RULES_H
#define TIDEWATER_COMPUTE_PAGE_RULES_H

#include "postgres.h"

#include "access/transam.h"

/* What is known about the server at one moment; older is only stricter. */
typedef struct PageRules
{
	XLogRecPtr	flushed;		/* WAL below this is flushed */
	FullTransactionId oldest_running;	/* every older transaction has ended */
} PageRules;

extern void tide_page_rules_now(PageRules *rules);

/*
 * Whether the page, as it lies in the local file, may be given up. `next_xid`: transactions that left
 * something in it are older than this.
 */
extern bool tide_may_give_up(const PageRules *rules, const char *page, FullTransactionId next_xid);

#endif
