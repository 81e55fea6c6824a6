/*
 * The server program's relocated read-only data, found through the dynamic loader's own list.
 */
#include "server_image.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct Search
{
	const uintptr_t *words;
	int			word_count;
	int			matches;
	void	   *first;
} Search;

static void
search_segment(Search *search, uintptr_t start, uintptr_t end)
{
	size_t		length = search->word_count * sizeof(uintptr_t);

	start = TYPEALIGN(sizeof(uintptr_t), start);
	for (uintptr_t at = start; at + length <= end; at += sizeof(uintptr_t))
	{
		/* The caller's own copy of the words lives in our library or on the stack, never here. */
		if (*(const uintptr_t *) at == search->words[0] &&
			memcmp((const void *) at, search->words, length) == 0)
		{
			if (search->matches++ == 0)
				search->first = (void *) at;
		}
	}
}

static int
search_program(struct dl_phdr_info *info, size_t size, void *data)
{
	/* The first entry is the program itself; libraries follow and are not ours to search. */
	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) != 0)
		{
			uintptr_t	start = info->dlpi_addr + segment->p_vaddr;

			/* p_filesz, not p_memsz: a constant table is never in the zero-filled part. */
			search_segment((Search *) data, start, start + segment->p_filesz);
		}
	}
	return 1;
}

int
tidewater_find_in_server(const uintptr_t *words, int word_count, void **first)
{
	Search		search = {words, word_count, 0, NULL};

	dl_iterate_phdr(search_program, &search);
	*first = search.first;
	return search.matches;
}

void
tidewater_make_writable(void *start, size_t length)
{
	uintptr_t	page_size = (uintptr_t) sysconf(_SC_PAGESIZE);
	uintptr_t	begin = TYPEALIGN_DOWN(page_size, (uintptr_t) start);
	uintptr_t	end = TYPEALIGN(page_size, (uintptr_t) start + length);

	if (mprotect((void *) begin, end - begin, PROT_READ | PROT_WRITE) != 0)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not make the server's tables writable: %m"),
				 errhint("A security policy that forbids mprotect on program data must exempt PostgreSQL.")));
}
