/*
 * Applying WAL records to one page with stock PostgreSQL's redo functions.
 */
#include "redo.h"

#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "catalog/pg_control.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"

/* Room for decoded records below this size is allocated once. */
#define USUAL_RECORD_BYTES (64 * 1024)

static XLogReaderState *reader = NULL;
static DecodedXLogRecord *usual_record;
static MemoryContext page_context;

static int
no_page_read(XLogReaderState *state, XLogRecPtr page_lsn, int length, XLogRecPtr record_lsn, char *into)
{
	return -1;					/* never called: records arrive whole */
}

void
redo_apply_setup(void)
{
	reader = XLogReaderAllocate(wal_segment_size, NULL,
								XL_ROUTINE(.page_read = no_page_read, .segment_open = NULL,
										   .segment_close = NULL), NULL);
	if (reader == NULL)
		ereport(FATAL, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	usual_record = palloc(DecodeXLogRecordRequiredSpace(USUAL_RECORD_BYTES));
	page_context = AllocSetContextCreate(TopMemoryContext, "redo of one page", ALLOCSET_DEFAULT_SIZES);
}

static void refuse(TideRedoPage *page, enum TideRedoStatus status, const char *format,...)
			pg_attribute_printf(3, 4);

static void
refuse(TideRedoPage *page, enum TideRedoStatus status, const char *format,...)
{
	char		text[TIDE_REDO_ERROR_BYTES + 1];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	page->error_length = strlen(text);
	memcpy(page->error, text, page->error_length);
	page->status = status;
}

/* The records that change pages. Others have effects beyond pages, which are not ours to make. */
static bool
is_page_rmgr(RmgrId rmid, uint8 info)
{
	switch (rmid)
	{
		case RM_XLOG_ID:
			return (info & ~XLR_INFO_MASK) == XLOG_FPI || (info & ~XLR_INFO_MASK) == XLOG_FPI_FOR_HINT;
		case RM_HEAP2_ID:
		case RM_HEAP_ID:
		case RM_BTREE_ID:
		case RM_HASH_ID:
		case RM_GIN_ID:
		case RM_GIST_ID:
		case RM_SEQ_ID:
		case RM_SPGIST_ID:
		case RM_BRIN_ID:
		case RM_GENERIC_ID:
			return true;
		default:
			return RmgrIdIsCustom(rmid) && RmgrIdExists(rmid);
	}
}

/*
 * Whether redo of this record always leaves the record's LSN on its block `id` (which it may do without, see
 * below, only where PostgreSQL itself would).
 */
static bool
always_sets_lsn(const DecodedXLogRecord *record, int id)
{
	uint8		info = record->header.xl_info & ~XLR_INFO_MASK;

	if (record->blocks[id].apply_image)
		return true;
	switch (record->header.xl_rmid)
	{
		case RM_XLOG_ID:
			/* FPI_FOR_HINT may name a block without bringing its image. */
			return false;
		case RM_HEAP2_ID:
			/* The heap page keeps its LSN unless hints are logged; the map page if its bits were set. */
			return (info & XLOG_HEAP_OPMASK) != XLOG_HEAP2_VISIBLE;
		case RM_HASH_ID:
			/* The primary bucket page is named for its cleanup lock only. */
			return !(id == 0 && (info == XLOG_HASH_MOVE_PAGE_CONTENTS || info == XLOG_HASH_SQUEEZE_PAGE ||
								 info == XLOG_HASH_DELETE));
		default:
			return record->header.xl_rmid <= RM_MAX_BUILTIN_ID;
	}
}

/* Redo of heap records clears visibility-map bits without naming the map's block. */
static bool
may_touch_unnamed(const DecodedXLogRecord *record, ForkNumber fork)
{
	return fork == VISIBILITYMAP_FORKNUM && record->max_block_id >= 0 &&
		(record->header.xl_rmid == RM_HEAP_ID || record->header.xl_rmid == RM_HEAP2_ID);
}

static void
add_record_context(void *arg)
{
	const DecodedXLogRecord *record = reader->record;
	RmgrData	rmgr = RmgrTable[record->header.xl_rmid];
	const char *name = rmgr.rm_identify(record->header.xl_info);

	errcontext("redo of the WAL record that ends at %X/%X, %s/%s", LSN_FORMAT_ARGS(reader->EndRecPtr),
			   rmgr.rm_name, name ? name : "unknown");
}

/* Applies one record; false if the page was refused. */
static bool
apply_record(TideRedoPage *page, RelFileNode rnode, const TideRedoRecord *head, int index)
{
	XLogRecord *raw = (XLogRecord *) (head + 1);
	DecodedXLogRecord *record;
	ErrorContextCallback callback;
	char	   *error = NULL;
	int			own_id = -1;
	Buffer		buffer;
	XLogRecPtr	lsn;
	bool		is_new;

	if (head->length < SizeOfXLogRecord || raw->xl_tot_len != head->length)
	{
		refuse(page, TIDE_REDO_REFUSED, "record %d is %u bytes long but says %u", index, head->length,
			   head->length < SizeOfXLogRecord ? 0 : raw->xl_tot_len);
		return false;
	}
	if (!is_page_rmgr(raw->xl_rmid, raw->xl_info))
	{
		refuse(page, TIDE_REDO_REFUSED, "record %d, ending at %X/%X, cannot be redone on a page: "
			   "resource manager %u, info %02X", index, LSN_FORMAT_ARGS(head->end_lsn), raw->xl_rmid,
			   raw->xl_info);
		return false;
	}

	record = head->length <= USUAL_RECORD_BYTES ? usual_record :
		palloc(DecodeXLogRecordRequiredSpace(head->length));
	record->oversized = false;
	/* Redo never asks where a record began; any LSN below its end will do. */
	reader->ReadRecPtr = head->end_lsn - 1;
	reader->EndRecPtr = head->end_lsn;
	reader->record = record;
	if (!DecodeXLogRecord(reader, record, raw, reader->ReadRecPtr, &error))
	{
		refuse(page, TIDE_REDO_REFUSED, "record %d, ending at %X/%X, cannot be decoded: %s", index,
			   LSN_FORMAT_ARGS(head->end_lsn), error ? error : "no reason given");
		return false;
	}
	record->next_lsn = head->end_lsn;

	for (int id = 0; id <= record->max_block_id; id++)
	{
		DecodedBkpBlock *block = &record->blocks[id];

		if (block->in_use && block->blkno == page->block && block->forknum == page->fork &&
			RelFileNodeEquals(block->rnode, rnode))
		{
			own_id = id;
			block->prefetch_buffer = redo_target_hint();
			break;
		}
	}
	if (own_id < 0 && !may_touch_unnamed(record, page->fork))
	{
		refuse(page, TIDE_REDO_REFUSED, "record %d, ending at %X/%X, does not touch this block", index,
			   LSN_FORMAT_ARGS(head->end_lsn));
		return false;
	}

	/* Redo would take a missing page for a dropped one and silently do nothing. */
	if (own_id >= 0 && page->fork != VISIBILITYMAP_FORKNUM && page->fork != FSM_FORKNUM &&
		!record->blocks[own_id].apply_image && !(record->blocks[own_id].flags & BKPBLOCK_WILL_INIT))
	{
		buffer = redo_target_pin();
		is_new = PageIsNew(BufferGetPage(buffer));
		ReleaseBuffer(buffer);
		if (is_new)
		{
			refuse(page, TIDE_REDO_REFUSED, "record %d, ending at %X/%X, changes a page that is not initialised: "
				   "the base image or an earlier record is missing", index, LSN_FORMAT_ARGS(head->end_lsn));
			return false;
		}
	}

	callback.callback = add_record_context;
	callback.arg = NULL;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	RmgrTable[raw->xl_rmid].rm_redo(reader);
	error_context_stack = callback.previous;

	/*
	 * Blocks that the record initialised or brought an image of hold a real page with a real LSN now; a later
	 * record would be redone on them without the records between.
	 */
	for (int id = 0; id <= record->max_block_id; id++)
	{
		DecodedBkpBlock *block = &record->blocks[id];

		if (id != own_id && block->in_use &&
			(block->apply_image || (block->flags & BKPBLOCK_WILL_INIT)))
			redo_make_dummy(block->rnode, block->forknum, block->blkno);
	}

	if (own_id >= 0 && always_sets_lsn(record, own_id))
	{
		buffer = redo_target_pin();
		lsn = PageGetLSN(BufferGetPage(buffer));
		is_new = PageIsNew(BufferGetPage(buffer));
		ReleaseBuffer(buffer);
		/* The image of a page that was still all zeros stays so, without an LSN. */
		if (lsn != head->end_lsn && !(is_new && record->blocks[own_id].apply_image))
		{
			refuse(page, TIDE_REDO_FAILED, "record %d, ending at %X/%X, did not apply: the page's LSN is %X/%X",
				   index, LSN_FORMAT_ARGS(head->end_lsn), LSN_FORMAT_ARGS(lsn));
			return false;
		}
	}
	return true;
}

void
redo_apply_page(char *ring, uint64 ring_bytes, TideRedoPage *page)
{
	RelFileNode rnode = {page->spc, page->db, page->rel};
	char	   *image;
	uint64		at = page->records_offset;
	uint64		end = page->records_offset + page->records_bytes;
	MemoryContext caller_context;

	page->error_length = 0;
	if (page->fork > MAX_FORKNUM || page->block > MaxBlockNumber || page->record_count == 0 ||
		page->image_offset % MAXIMUM_ALIGNOF != 0 || page->image_offset > ring_bytes - BLCKSZ ||
		at % MAXIMUM_ALIGNOF != 0 || at > ring_bytes || end < at || end > ring_bytes)
	{
		refuse(page, TIDE_REDO_REFUSED, "the page's descriptor is out of bounds");
		return;
	}
	image = ring + page->image_offset;

	caller_context = MemoryContextSwitchTo(page_context);
	redo_target_begin(rnode, page->fork, page->block,
					  (page->flags & TIDE_REDO_HAS_BASE) ? image : NULL);
	page->status = TIDE_REDO_OK;
	for (uint32 i = 0; i < page->record_count; i++)
	{
		const TideRedoRecord *head = (const TideRedoRecord *) (ring + at);

		if (end - at < sizeof(TideRedoRecord) || end - at - sizeof(TideRedoRecord) < head->length)
		{
			refuse(page, TIDE_REDO_REFUSED, "record %u does not lie within the batch", i);
			break;
		}
		if (!apply_record(page, rnode, head, i))
			break;
		at += sizeof(TideRedoRecord) + MAXALIGN((uint64) head->length);
	}
	redo_target_end(image);
	MemoryContextSwitchTo(caller_context);
	MemoryContextReset(page_context);
}
