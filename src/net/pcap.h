/* A capture file of Ethernet frames, in the classic pcap format with nanoseconds. */
#ifndef VT_PCAP_H
#define VT_PCAP_H

#include <stddef.h>
#include "src/base/err.h"

struct pcap;

/* Makes path (an existing file is replaced), or writes to a pipe where path is one. */
int pcap_open(const char *path, struct pcap **ret_pcap, struct err *e);
/* Adds a frame with the present time. The first failure is kept for pcap_close; what follows it is dropped. */
void pcap_write(struct pcap *p, const void *frame, size_t len);
/* Writes out what is buffered, for who looks at the file meanwhile. */
void pcap_flush(struct pcap *p);
/* Writes out what is buffered and frees p (NULL: nothing); reports the first failure. */
int pcap_close(struct pcap *p, struct err *e);

#endif
