/* In place of nat.c where libslirp is not there. No struct nat ever exists, so only nat_new can be called. */
#include "src/net/nat.h"

int nat_new(const struct nat_config *c, struct netport *port, struct nat **ret_nat, struct err *e)
{
    return err_set(e, VT_FAIL, "no network: this vmtest was built without libslirp (package libslirp-dev)");
}

void nat_free(struct nat *n)
{
}

void nat_set_vm(struct nat *n, struct vm *vm)
{
}

int nat_fill_pollfds(void *nat, struct pollfd *fds, int max, int *timeout_ms)
{
    return 0;
}

void nat_poll(void *nat, const struct pollfd *fds, int count, bool failed)
{
}

int nat_forward_add(struct nat *n, const struct config_forward *f, struct err *e)
{
    return err_set(e, VT_FAIL, "no network");
}

int nat_forward_remove(struct nat *n, const struct config_forward *f, struct err *e)
{
    return err_set(e, VT_FAIL, "no network");
}

int nat_reset_connections(struct nat *n, struct err *e)
{
    return 0;
}

void nat_capture(struct nat *n, struct pcap *p)
{
}
