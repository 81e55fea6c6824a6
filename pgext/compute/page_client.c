/*
 * This process's conversation with the page service.
 */
#include "page_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "access/xlog.h"
#include "contracts/page_service.h"
#include "feed.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "settings.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "wal_position.h"

/* How often a blocked read looks at signals and at the postmaster. */
#define SLICE_MS 1000

/* A page service that is silent for so long is asked again on a new connection. */
#define SILENCE_MS 60000

#define BACKOFF_FIRST_US 2000
#define BACKOFF_LIMIT_US 500000

#define COMPLAIN_FIRST_MS 5000
#define COMPLAIN_EVERY_MS 30000

#define MAX_MESSAGE 4096

/* How a request ended. */
typedef enum Outcome
{
	OUTCOME_DONE,
	OUTCOME_LOST,				/* the connection is of no use */
	OUTCOME_LATER				/* the service asks for patience */
} Outcome;

typedef struct Client
{
	int			socket;			/* -1: none */
	pid_t		owner;			/* a forked child must not use its parent's */
	bool		busy;			/* an answer is outstanding: after an error, start afresh */
	uint64		last_request;
	char		trouble[MAX_MESSAGE];	/* what to log when it lasts */
} Client;

static Client client = {.socket = -1};

/* Pages that were asked for before they were wanted. */
typedef enum AheadState
{
	AHEAD_NONE = 0,
	AHEAD_ASKED,				/* the answer comes before all others on this connection */
	AHEAD_HERE					/* in `pages` */
} AheadState;

typedef struct Ahead
{
	AheadState	state;
	uint64		request;
	TidePsGetPages asked;
	XLogRecPtr	at_lsn;			/* of the pages that are here */
	char	   *pages;			/* room for TIDE_PS_MAX_BLOCKS; kept */
} Ahead;

static Ahead ahead;

/* One request with its answer's place. */
typedef struct Exchange
{
	uint16		type;
	uint16		answer_type;
	const void *body;
	size_t		body_length;
	void	   *answer;
	size_t		answer_length;
	void	   *payload;		/* behind the answer; only for PAGES */
	size_t		payload_length;
} Exchange;

static void
trouble(const char *format,...) pg_attribute_printf(1, 2);

static void
trouble(const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(client.trouble, sizeof(client.trouble), format, arguments);
	va_end(arguments);
}

static void
disconnect(void)
{
	if (client.socket >= 0)
	{
		close(client.socket);
		ReleaseExternalFD();
	}
	client.socket = -1;
	client.busy = false;
	if (ahead.state == AHEAD_ASKED)
		ahead.state = AHEAD_NONE;
}

/* What may end the wait, between two attempts or inside one. */
static void
check_for_end(void)
{
	if (IsUnderPostmaster && !PostmasterIsAlive())
		_exit(1);
	/* Only these: other interrupts may do work that smgr's callers do not expect. */
	if ((QueryCancelPending || ProcDiePending) && INTERRUPTS_CAN_BE_PROCESSED() &&
		CritSectionCount == 0)
		CHECK_FOR_INTERRUPTS();
}

static bool
send_all(const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0)
	{
		ssize_t		sent = send(client.socket, at, length, MSG_NOSIGNAL);

		if (sent > 0)
		{
			at += sent;
			length -= sent;
		}
		else if (errno == EINTR || errno == EAGAIN)
			check_for_end();
		else
		{
			trouble("send: %s", strerror(errno));
			return false;
		}
	}
	return true;
}

static bool
receive_all(void *bytes, size_t length)
{
	char	   *at = bytes;
	int			silence_ms = 0;

	while (length > 0)
	{
		ssize_t		received = recv(client.socket, at, length, MSG_WAITALL);

		if (received > 0)
		{
			at += received;
			length -= received;
			silence_ms = 0;
		}
		else if (received == 0)
		{
			trouble("it closed the connection");
			return false;
		}
		else if (errno == EINTR || errno == EAGAIN)
		{
			if (errno == EAGAIN)
				silence_ms += SLICE_MS;
			check_for_end();
			if (silence_ms >= SILENCE_MS)
			{
				trouble("no answer for %d s", SILENCE_MS / 1000);
				return false;
			}
		}
		else
		{
			trouble("receive: %s", strerror(errno));
			return false;
		}
	}
	return true;
}

/* The service's refusal. Returns only if asking again makes sense. */
static Outcome
receive_error(uint32 body_length)
{
	TidePsError error;
	char		message[MAX_MESSAGE];

	if (body_length < sizeof(error) || body_length - sizeof(error) >= sizeof(message) ||
		!receive_all(&error, sizeof(error)) ||
		error.message_length != body_length - sizeof(error) ||
		!receive_all(message, error.message_length))
		return OUTCOME_LOST;
	message[error.message_length] = '\0';
	client.busy = false;

	if (error.code == TIDE_PS_ERR_STALE_EPOCH)
		tide_end_fenced(psprintf("The page store says: %s", message));
	if (error.code == TIDE_PS_ERR_RETRY || error.code == TIDE_PS_ERR_WAIT_TIMEOUT)
	{
		trouble("%s", message);
		return OUTCOME_LATER;
	}
	if (CritSectionCount > 0)
	{
		/* An error would be a PANIC here; the cause may go away. */
		trouble("%s", message);
		return OUTCOME_LATER;
	}
	ereport(ERROR,
			(errcode(error.code == TIDE_PS_ERR_CORRUPT ? ERRCODE_DATA_CORRUPTED : ERRCODE_IO_ERROR),
			 errmsg("the page store refused a request: %s", message),
			 errdetail("Page service error code %u.", error.code)));
	return OUTCOME_LOST;
}

/* Sends one request and reads its answer. */
static Outcome
exchange_once(const Exchange *exchange)
{
	struct
	{
		TidePsHeader header;
		char		body[64];
	}			request;
	TidePsHeader header;

	Assert(exchange->body_length <= sizeof(request.body));
	memset(&request, 0, sizeof(request));
	request.header.length = exchange->body_length;
	request.header.type = exchange->type;
	request.header.request_id = ++client.last_request;
	memcpy(request.body, exchange->body, exchange->body_length);

	client.busy = true;
	if (!send_all(&request, sizeof(TidePsHeader) + exchange->body_length) ||
		!receive_all(&header, sizeof(header)))
		return OUTCOME_LOST;
	if (header.request_id != request.header.request_id)
	{
		trouble("it answered request " UINT64_FORMAT " instead of " UINT64_FORMAT,
				header.request_id, request.header.request_id);
		return OUTCOME_LOST;
	}
	if (header.type == TIDE_PS_ERROR)
		return receive_error(header.length);
	if (header.type != exchange->answer_type ||
		header.length != exchange->answer_length + exchange->payload_length)
	{
		trouble("it answered with type %u, length %u; expected type %u, length %zu", header.type,
				header.length, exchange->answer_type,
				exchange->answer_length + exchange->payload_length);
		return OUTCOME_LOST;
	}
	if (!receive_all(exchange->answer, exchange->answer_length) ||
		!receive_all(exchange->payload, exchange->payload_length))
		return OUTCOME_LOST;
	client.busy = false;
	return OUTCOME_DONE;
}

static bool
is_same_fork(const TidePsRelFork *left, const TidePsRelFork *right)
{
	return memcmp(left, right, sizeof(TidePsRelFork)) == 0;
}

/* Takes the answer to the question asked ahead, if one is open. False: the connection is of no use. */
static bool
receive_ahead(void)
{
	TidePsHeader header;
	TidePsPages answer;
	size_t		length = (size_t) ahead.asked.block_count * BLCKSZ;

	if (ahead.state != AHEAD_ASKED)
		return true;
	/* Whatever ends this early leaves an answer half read. */
	client.busy = true;
	ahead.state = AHEAD_NONE;
	if (!receive_all(&header, sizeof(header)))
		return false;
	if (header.request_id == ahead.request && header.type == TIDE_PS_ERROR)
	{
		/* Nobody needs these pages yet: whoever does asks again and hears it again. */
		char		message[MAX_MESSAGE];

		if (header.length > sizeof(message) || !receive_all(message, header.length))
			return false;
		client.busy = false;
		return true;
	}
	if (header.request_id != ahead.request || header.type != TIDE_PS_PAGES ||
		header.length != sizeof(answer) + length)
	{
		trouble("it answered what was asked ahead with type %u, length %u", header.type, header.length);
		return false;
	}
	if (!receive_all(&answer, sizeof(answer)) || !receive_all(ahead.pages, length))
		return false;
	if (!is_same_fork(&answer.rel, &ahead.asked.rel) ||
		answer.first_block != ahead.asked.first_block ||
		answer.block_count != ahead.asked.block_count || answer.at_lsn < ahead.asked.min_lsn)
	{
		trouble("it answered what was asked ahead with other pages");
		return false;
	}
	client.busy = false;
	ahead.at_lsn = answer.at_lsn;
	ahead.state = AHEAD_HERE;
	return true;
}

static bool
open_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval slice = {SLICE_MS / 1000, SLICE_MS % 1000 * 1000};

	if (strlen(tide_settings.page_socket) >= sizeof(address.sun_path))
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("tidewater.page_socket is too long"),
				 errdetail("A Unix socket's path has at most %zu bytes.", sizeof(address.sun_path) - 1)));
	strcpy(address.sun_path, tide_settings.page_socket);

	ReserveExternalFD();
	client.socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client.socket < 0)
	{
		ReleaseExternalFD();
		trouble("socket: %s", strerror(errno));
		return false;
	}
	if (connect(client.socket, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		setsockopt(client.socket, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice)) != 0 ||
		setsockopt(client.socket, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof(slice)) != 0)
	{
		trouble("connect to \"%s\": %s", tide_settings.page_socket, strerror(errno));
		return false;
	}
	return true;
}

static Outcome
ensure_connected(void)
{
	TidePsHello hello = {
		.magic = TIDE_PS_MAGIC,
		.version = TIDE_PS_VERSION,
		.timeline = tide_settings.timeline,
		.epoch = tide_settings.epoch,
	};
	TidePsHelloOk hello_ok;
	Exchange	exchange = {
		.type = TIDE_PS_HELLO,
		.answer_type = TIDE_PS_HELLO_OK,
		.body = &hello,
		.body_length = sizeof(hello),
		.answer = &hello_ok,
		.answer_length = sizeof(hello_ok),
	};
	Outcome		outcome;

	if (client.owner != MyProcPid)
	{
		/* Inherited by fork: the parent's conversation is not ours to end. */
		if (client.socket >= 0)
			close(client.socket);
		client.socket = -1;
		client.busy = false;
		client.owner = MyProcPid;
		ahead.state = AHEAD_NONE;
	}
	if (client.busy)
		disconnect();
	if (client.socket >= 0)
		return OUTCOME_DONE;

	outcome = open_socket() ? exchange_once(&exchange) : OUTCOME_LOST;
	if (outcome != OUTCOME_DONE)
		disconnect();
	return outcome;
}

static void
complain(TimestampTz begin, TimestampTz *next_complaint)
{
	TimestampTz now = GetCurrentTimestamp();

	if (*next_complaint == 0)
		*next_complaint = TimestampTzPlusMilliseconds(begin, COMPLAIN_FIRST_MS);
	if (now < *next_complaint)
		return;
	*next_complaint = TimestampTzPlusMilliseconds(now, COMPLAIN_EVERY_MS);
	ereport(LOG,
			(errmsg("the page store does not answer, retrying"),
			 errdetail("Last trouble: %s.", client.trouble)));
}

/* Until it is done. */
static void
exchange(const Exchange *request, XLogRecPtr min_lsn)
{
	TimestampTz begin = 0;
	TimestampTz next_complaint = 0;
	long		backoff_us = BACKOFF_FIRST_US;

	/* The store waits for min_lsn: it must be able to see it. */
	if (!RecoveryInProgress())
	{
		if (min_lsn > GetFlushRecPtr(NULL))
			XLogFlush(min_lsn);
		tide_feed_publish();
	}
	tide_feed_check_fenced();

	for (;;)
	{
		Outcome		outcome = ensure_connected();

		pgstat_report_wait_start(PG_WAIT_EXTENSION);
		if (outcome == OUTCOME_DONE && !receive_ahead())
			outcome = OUTCOME_LOST;
		if (outcome == OUTCOME_DONE)
			outcome = exchange_once(request);
		pgstat_report_wait_end();
		if (outcome == OUTCOME_DONE)
			return;
		if (outcome == OUTCOME_LOST)
			disconnect();

		if (begin == 0)
			begin = GetCurrentTimestamp();
		complain(begin, &next_complaint);
		check_for_end();
		tide_feed_check_fenced();
		pg_usleep(backoff_us);
		backoff_us = Min(backoff_us * 2, BACKOFF_LIMIT_US);
	}
}

/* An answer of the right type for another fork: never use it, never use that connection again. */
static void
wrong_answer(void)
{
	disconnect();
	ereport(LOG,
			(errmsg("the page store answered for another relation, block or position than asked"),
			 errdetail("The answer was thrown away and the question is asked again.")));
	check_for_end();
	pg_usleep(BACKOFF_LIMIT_US);
}

static TidePsRelFork
rel_fork(const RelFileNode *node, ForkNumber fork)
{
	TidePsRelFork rel = {node->spcNode, node->dbNode, node->relNode, (uint32) fork};

	return rel;
}

static bool
is_ahead(const RelFileNode *node, ForkNumber fork, BlockNumber first)
{
	TidePsRelFork rel = rel_fork(node, fork);

	return ahead.state != AHEAD_NONE && client.owner == MyProcPid &&
		is_same_fork(&rel, &ahead.asked.rel) && first == ahead.asked.first_block;
}

uint32
tide_ahead_count(const RelFileNode *node, ForkNumber fork, BlockNumber first)
{
	return is_ahead(node, fork, first) ? ahead.asked.block_count : 0;
}

/* The pages that were asked for ahead, if they are these and new enough. */
static bool
take_ahead(const RelFileNode *node, ForkNumber fork, BlockNumber first, uint32 count,
		   XLogRecPtr min_lsn, char *pages)
{
	if (!is_ahead(node, fork, first) || count != ahead.asked.block_count)
		return false;
	tide_feed_check_fenced();
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	if (!receive_ahead())
		disconnect();
	pgstat_report_wait_end();
	if (ahead.state != AHEAD_HERE)
		return false;
	ahead.state = AHEAD_NONE;	/* once: the next question may be for newer ones */
	if (ahead.at_lsn < min_lsn)
		return false;
	memcpy(pages, ahead.pages, (size_t) count * BLCKSZ);
	return true;
}

void
tide_fetch_ahead(const RelFileNode *node, ForkNumber fork, BlockNumber first, uint32 count,
				 XLogRecPtr min_lsn)
{
	struct
	{
		TidePsHeader header;
		TidePsGetPages body;
	}			request;

	/* Where there is no conversation now, or something would have to be waited for, it is not worth it. */
	if (client.socket < 0 || client.owner != MyProcPid || client.busy ||
		ahead.state == AHEAD_ASKED || count == 0 || count > TIDE_PS_MAX_BLOCKS ||
		min_lsn > GetFlushRecPtr(NULL))
		return;
	if (ahead.pages == NULL)
		ahead.pages = MemoryContextAlloc(TopMemoryContext, (size_t) TIDE_PS_MAX_BLOCKS * BLCKSZ);

	memset(&request, 0, sizeof(request));
	request.header.length = sizeof(request.body);
	request.header.type = TIDE_PS_GET_PAGES;
	request.header.request_id = ++client.last_request;
	request.body.rel = rel_fork(node, fork);
	request.body.first_block = first;
	request.body.block_count = count;
	request.body.request_lsn = TIDE_PS_LATEST;
	request.body.min_lsn = tide_normalize(min_lsn);

	client.busy = true;
	if (!send_all(&request, sizeof(request)))
	{
		disconnect();
		return;
	}
	client.busy = false;
	ahead.state = AHEAD_ASKED;
	ahead.request = request.header.request_id;
	ahead.asked = request.body;
}

XLogRecPtr
tide_fetch_pages(const RelFileNode *node, ForkNumber fork, BlockNumber first, uint32 count,
				 XLogRecPtr min_lsn, char *pages)
{
	TidePsGetPages request = {
		.rel = rel_fork(node, fork),
		.first_block = first,
		.block_count = count,
		.request_lsn = TIDE_PS_LATEST,
		.min_lsn = tide_normalize(min_lsn),
	};
	TidePsPages answer;
	Exchange	both = {
		.type = TIDE_PS_GET_PAGES,
		.answer_type = TIDE_PS_PAGES,
		.body = &request,
		.body_length = sizeof(request),
		.answer = &answer,
		.answer_length = sizeof(answer),
		.payload = pages,
		.payload_length = (size_t) count * BLCKSZ,
	};

	if (take_ahead(node, fork, first, count, request.min_lsn, pages))
		return ahead.at_lsn;
	for (;;)
	{
		exchange(&both, request.min_lsn);
		if (is_same_fork(&answer.rel, &request.rel) && answer.first_block == first &&
			answer.block_count == count && answer.at_lsn >= request.min_lsn)
			return answer.at_lsn;
		wrong_answer();
	}
}

bool
tide_fetch_size(const RelFileNode *node, ForkNumber fork, XLogRecPtr min_lsn, BlockNumber *blocks)
{
	TidePsRelSize request = {
		.rel = rel_fork(node, fork),
		.request_lsn = TIDE_PS_LATEST,
		.min_lsn = tide_normalize(min_lsn),
	};
	TidePsSize	answer;
	Exchange	both = {
		.type = TIDE_PS_REL_SIZE,
		.answer_type = TIDE_PS_SIZE,
		.body = &request,
		.body_length = sizeof(request),
		.answer = &answer,
		.answer_length = sizeof(answer),
	};

	for (;;)
	{
		exchange(&both, request.min_lsn);
		if (is_same_fork(&answer.rel, &request.rel) && answer.at_lsn >= request.min_lsn)
			break;
		wrong_answer();
	}
	*blocks = answer.block_count;
	return answer.block_count != TIDE_PS_NO_RELATION;
}

uint64
tide_fetch_database_size(Oid db, XLogRecPtr min_lsn)
{
	TidePsDbSize request = {
		.db = db,
		.request_lsn = TIDE_PS_LATEST,
		.min_lsn = tide_normalize(min_lsn),
	};
	TidePsDbBytes answer;
	Exchange	both = {
		.type = TIDE_PS_DB_SIZE,
		.answer_type = TIDE_PS_DB_BYTES,
		.body = &request,
		.body_length = sizeof(request),
		.answer = &answer,
		.answer_length = sizeof(answer),
	};

	exchange(&both, request.min_lsn);
	return answer.bytes;
}
