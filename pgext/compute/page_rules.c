/*
 * Which rewritten pages the local cache may give up.
 *
 * A given up page comes back as WAL redo makes it. Redo leaves out:
 *
 *   - pages that WAL never describes: free-space maps (their fork is never given up once written), pages
 *     that were added but not filled, pages of an index that is being built (logged at its end)
 *   - command ids, combo ids and speculative tokens of heap tuples: they matter while the transaction runs
 *   - the vacuum cycle id of btree pages: it matters while that vacuum runs
 *   - the visibility map's bits between the moment they are cleared and the record that says so (the
 *     fork is never given up once written)
 *   - values of a sequence between two records, which count 32 ahead
 *   - hint bits, dead-item hints, SP-GiST's list of last used pages: these may be lost at any time
 *
 * BRIN's mark on a page that is being evacuated is not in WAL either, but its buffer stays pinned.
 */
#include "page_rules.h"

#include "access/gist.h"
#include "access/hash.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "storage/bufpage.h"
#include "storage/procarray.h"

/* Sequences' special area; private to commands/sequence.c. */
#define SEQUENCE_MAGIC 0x1717

void
tide_page_rules_now(PageRules *rules)
{
	TransactionId oldest = GetOldestActiveTransactionId();
	FullTransactionId next = ReadNextFullTransactionId();

	rules->flushed = GetFlushRecPtr(NULL);
	/* Read second, `next` is ahead of `oldest` by much less than half of the xid space. */
	rules->oldest_running.value = next.value - (uint32) (XidFromFullTransactionId(next) - oldest);
}

static bool
has_ended(const PageRules *rules, TransactionId xid)
{
	if (!TransactionIdIsNormal(xid) ||
		TransactionIdPrecedes(xid, XidFromFullTransactionId(rules->oldest_running)))
		return true;
	return !TransactionIdIsInProgress(xid);
}

static bool
tuple_is_settled(const PageRules *rules, HeapTupleHeader tuple)
{
	uint16		flags = tuple->t_infomask;

	if ((flags & (HEAP_XMIN_COMMITTED | HEAP_XMIN_INVALID)) == 0 &&
		!has_ended(rules, HeapTupleHeaderGetRawXmin(tuple)))
		return false;
	if ((flags & (HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID)) != 0)
		return true;
	/* A member of a multixact may have deleted it. */
	if ((flags & HEAP_XMAX_IS_MULTI) != 0)
		return false;
	return has_ended(rules, HeapTupleHeaderGetRawXmax(tuple));
}

static bool
heap_is_settled(const PageRules *rules, Page page)
{
	OffsetNumber count = PageGetMaxOffsetNumber(page);

	for (OffsetNumber offset = FirstOffsetNumber; offset <= count; offset++)
	{
		ItemId		item = PageGetItemId(page, offset);

		if (!ItemIdIsNormal(item) || ItemIdGetLength(item) < SizeofHeapTupleHeader ||
			ItemIdGetOffset(item) + ItemIdGetLength(item) > BLCKSZ)
			continue;
		if (!tuple_is_settled(rules, (HeapTupleHeader) PageGetItem(page, item)))
			return false;
	}
	return true;
}

bool
tide_may_give_up(const PageRules *rules, const char *bytes, FullTransactionId next_xid)
{
	Page		page = (Page) bytes;
	PageHeader	header = (PageHeader) bytes;
	uint16		special_size;

	/*
	 * Unwritten or not logged yet: LSN 0, 1 (GiST's builds) or counted up from 1000 (unlogged). WAL
	 * begins with the second segment.
	 */
	if (PageIsNew(page) || PageGetLSN(page) < (XLogRecPtr) wal_segment_size ||
		PageGetLSN(page) > rules->flushed)
		return false;
	if (header->pd_special > BLCKSZ || header->pd_lower > BLCKSZ ||
		header->pd_lower < SizeOfPageHeaderData)
		return false;

	special_size = BLCKSZ - header->pd_special;
	if (special_size == 0)
		return FullTransactionIdPrecedesOrEquals(next_xid, rules->oldest_running) ||
			heap_is_settled(rules, page);
	if (special_size == MAXALIGN(sizeof(uint32)))
		return *(const uint32 *) PageGetSpecialPointer(page) != SEQUENCE_MAGIC;
	if (special_size == MAXALIGN(sizeof(BTPageOpaqueData)))
	{
		/* GiST and hash pages are as large here, with their own mark where btree has its cycle id. */
		BTCycleId	cycle = ((const BTPageOpaqueData *) PageGetSpecialPointer(page))->btpo_cycleid;

		return cycle == 0 || cycle == GIST_PAGE_ID || cycle == HASHO_PAGE_ID;
	}
	return true;
}
