/* The user-mode network from the guest's end of the wire, frame by frame; and the host's end of a forward. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "src/net/nat.h"
#include "src/net/pcap.h"

enum { GUEST_PORT = 22, ETH = 14, IP = 20, TCP = 20, SYN = 2, RST = 4, ACK = 16, FDS = 64 };

static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t guest_ip[4] = {10, 0, 2, 15}, gateway_ip[4] = {10, 0, 2, 2};

struct vm {
    unsigned posts;
};

void vm_post(struct vm *vm, struct vm_event *ev)
{
    vm->posts++;
}

struct t {
    struct vm vm;
    struct netport port;
    struct nat *nat;
    struct config_forward forward;
    uint8_t frame[2048];
    uint32_t len;
    uint8_t router[6]; /* from ARP */
};

/* A TCP port of this host that nobody uses just now. */
static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void start(struct t *t, bool forward)
{
    struct err e = {0};

    memset(t, 0, sizeof *t);
    assert_int_equal(netport_init(&t->port, 1 << 20), 0);
    t->forward = (struct config_forward){.host = "127.0.0.1", .host_port = free_port(), .guest_port = GUEST_PORT};
    const struct nat_config c = {.hostname = "web", .forward = &t->forward, .nforwards = forward};
    if (nat_new(&c, &t->port, &t->nat, &e))
        fail_msg("%s", e.msg);
    nat_set_vm(t->nat, &t->vm);
}

static void stop(struct t *t)
{
    nat_free(t->nat);
    netport_release(&t->port);
}

/* One turn of a loop. */
static void turn(struct t *t, int timeout_ms)
{
    struct pollfd fds[FDS];
    int n = nat_fill_pollfds(t->nat, fds, FDS, &timeout_ms);

    assert_true(n >= 1 && n <= FDS);
    int r = poll(fds, (nfds_t)n, timeout_ms);
    nat_poll(t->nat, fds, n, r < 0);
}

static void send_frame(struct t *t, const void *frame, uint32_t len)
{
    assert_true(netq_put(&t->port.to_host, frame, len));
    host_kick(&t->port.kick);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t add_words(uint32_t sum, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void ethernet(uint8_t *f, const uint8_t *to, uint16_t type)
{
    memcpy(f, to, 6);
    memcpy(f + 6, mac, 6);
    put16(f + 12, type);
}

static void ipv4(uint8_t *p, uint8_t protocol, const uint8_t *src, const uint8_t *dst, uint32_t len)
{
    memset(p, 0, IP);
    p[0] = 0x45;
    put16(p + 2, IP + len);
    p[8] = 64;
    p[9] = protocol;
    memcpy(p + 12, src, 4);
    memcpy(p + 16, dst, 4);
    put16(p + 10, fold(add_words(0, p, IP)));
}

enum arp_op { ARP_ASK = 1, ARP_ANSWER = 2 };

static void send_arp(struct t *t, enum arp_op op, const uint8_t *to)
{
    static const uint8_t head[7] = {0, 1, 8, 0, 6, 4, 0};
    uint8_t f[60] = {0};

    ethernet(f, to, 0x0806);
    memcpy(f + 14, head, 7);
    f[21] = (uint8_t)op;
    memcpy(f + 22, mac, 6);
    memcpy(f + 28, guest_ip, 4);
    memcpy(f + 32, to, op == ARP_ANSWER ? 6 : 0);
    memcpy(f + 38, gateway_ip, 4);
    send_frame(t, f, sizeof f);
}

/* The next frame of the given type for the guest; turns until it is there (for 5 s at most).
 * A guest's stack also answers ARP. */
static bool receive(struct t *t, uint16_t type)
{
    for (unsigned i = 0; i < 500; i++) {
        while ((t->len = netq_get(&t->port.to_guest, t->frame, sizeof t->frame))) {
            if (t->frame[12] == 8 && t->frame[13] == 6 && t->frame[21] == ARP_ASK)
                send_arp(t, ARP_ANSWER, t->frame + 6);
            if (t->frame[12] == type >> 8 && t->frame[13] == (type & 0xff))
                return true;
        }
        turn(t, 10);
    }
    return false;
}

static void arp(struct t *t)
{
    static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};

    send_arp(t, ARP_ASK, all);
    assert_true(receive(t, 0x0806));
    assert_memory_equal(t->frame, mac, 6);
    assert_int_equal(t->frame[21], 2); /* a reply */
    assert_memory_equal(t->frame + 28, gateway_ip, 4);
    memcpy(t->router, t->frame + 22, 6);
}

static void answers_arp(void **state)
{
    struct t t;
    start(&t, false);
    arp(&t);
    assert_true(t.vm.posts >= 1);
    stop(&t);
}

static void answers_dhcp(void **state)
{
    static const uint8_t all[6] = {255, 255, 255, 255, 255, 255}, any[4] = {0}, every[4] = {255, 255, 255, 255};
    static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255}; /* magic, DISCOVER, end */
    uint8_t f[ETH + IP + 8 + 300] = {0}, *ip = f + ETH, *udp = ip + IP, *dhcp = udp + 8;
    struct t t;

    start(&t, false);
    ethernet(f, all, 0x0800);
    ipv4(ip, 17, any, every, 8 + 300);
    put16(udp, 68);
    put16(udp + 2, 67);
    put16(udp + 4, 8 + 300);
    dhcp[0] = 1;
    dhcp[1] = 1;
    dhcp[2] = 6;
    put32(dhcp + 4, 0xabcd1234);
    memcpy(dhcp + 28, mac, 6);
    memcpy(dhcp + 236, options, sizeof options);
    send_frame(&t, f, sizeof f);
    assert_true(receive(&t, 0x0800));
    const uint8_t *reply = t.frame + ETH + IP + 8;
    assert_int_equal(t.frame[ETH + 9], 17);
    assert_int_equal(reply[0], 2);
    assert_int_equal(get32(reply + 4), 0xabcd1234);
    assert_memory_equal(reply + 16, guest_ip, 4);
    bool router = false;
    for (const uint8_t *o = reply + 240; o < t.frame + t.len && *o != 255; o += *o ? o[1] + 2 : 1)
        router |= o[0] == 3 && o[1] == 4 && memcmp(o + 2, gateway_ip, 4) == 0;
    assert_true(router);
    stop(&t);
}

/* A segment from the guest's port to the other end of the connection that t->frame belongs to. */
static void send_tcp(struct t *t, const uint8_t *peer_tcp, uint32_t seq, uint32_t ack, uint8_t flags)
{
    uint8_t f[60] = {0}, *ip = f + ETH, *tcp = ip + IP, pseudo[12] = {0};

    ethernet(f, t->router, 0x0800);
    ipv4(ip, 6, guest_ip, gateway_ip, TCP);
    put16(tcp, GUEST_PORT);
    memcpy(tcp + 2, peer_tcp, 2);
    put32(tcp + 4, seq);
    put32(tcp + 8, ack);
    tcp[12] = 5 << 4;
    tcp[13] = flags;
    put16(tcp + 14, 8192);
    memcpy(pseudo, ip + 12, 8);
    pseudo[9] = 6;
    put16(pseudo + 10, TCP);
    put16(tcp + 16, fold(add_words(add_words(0, pseudo, sizeof pseudo), tcp, TCP)));
    send_frame(t, f, sizeof f);
}

static int dial(const struct t *t)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(t->forward.host_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A connection through the forward, up to both ends' being established; fills peer with the far port. */
static int established(struct t *t, uint8_t peer[2], uint32_t *ret_ack)
{
    int fd = dial(t);
    const uint8_t *tcp = t->frame + ETH + IP;

    assert_true(fd >= 0);
    assert_true(receive(t, 0x0800));
    assert_int_equal(t->frame[ETH + 9], 6);
    assert_int_equal(tcp[13] & (SYN | ACK), SYN);
    memcpy(peer, tcp, 2);
    *ret_ack = get32(tcp + 4) + 1;
    send_tcp(t, peer, 1000, *ret_ack, SYN | ACK);
    assert_true(receive(t, 0x0800));
    tcp = t->frame + ETH + IP;
    assert_int_equal(tcp[13] & (SYN | ACK), ACK);
    return fd;
}

static void reset_on_both_sides(void **state)
{
    struct t t;
    struct err e = {0};
    uint8_t peer[2], byte;
    uint32_t ack;
    int fd;

    start(&t, true);
    arp(&t);
    fd = established(&t, peer, &ack);
    assert_int_equal(nat_reset_connections(t.nat, &e), 0);
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd);
    /* the guest, reverted to when the connection stood, goes on with it */
    send_tcp(&t, peer, 1001, ack, ACK);
    assert_true(receive(&t, 0x0800));
    assert_int_equal(t.frame[ETH + IP + 13] & RST, RST);
    /* the forward still listens */
    fd = established(&t, peer, &ack);
    close(fd);
    stop(&t);
}

static void forwards(void **state)
{
    struct t t;
    struct err e = {0};
    int fd;

    start(&t, false);
    arp(&t);
    assert_int_equal(dial(&t), -1);
    assert_int_equal(nat_forward_add(t.nat, &t.forward, &e), 0);
    fd = dial(&t);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(nat_forward_add(t.nat, &t.forward, &e), VT_EXISTS);
    assert_int_equal(nat_forward_remove(t.nat, &t.forward, &e), 0);
    assert_int_equal(dial(&t), -1);
    e = (struct err){0};
    assert_int_equal(nat_forward_remove(t.nat, &t.forward, &e), VT_NOENT);
    stop(&t);
}

static void taken_port(void **state)
{
    struct t t, u;
    struct err e = {0};

    start(&t, true);
    memset(&u, 0, sizeof u);
    assert_int_equal(netport_init(&u.port, 4096), 0);
    const struct nat_config c = {.forward = &t.forward, .nforwards = 1};
    assert_int_equal(nat_new(&c, &u.port, &u.nat, &e), VT_BUSY);
    assert_non_null(strstr(e.msg, "127.0.0.1"));
    assert_int_equal(u.port.kick.fd, -1);
    netport_release(&u.port);
    stop(&t);
}

static void survives_nonsense(void **state)
{
    struct t t;
    uint8_t f[1514];

    start(&t, false);
    srand(1);
    for (unsigned i = 0; i < 2000; i++) {
        for (unsigned k = 0; k < sizeof f; k++)
            f[k] = (uint8_t)rand();
        put16(f + 12, i % 3 == 0 ? 0x0800 : i % 3 == 1 ? 0x0806 : 0x86dd);
        f[14] = 0x45;
        netq_put(&t.port.to_host, f, 1 + (unsigned)rand() % sizeof f);
        if (i % 50 == 0)
            turn(&t, 0);
    }
    while (byteq_used(&t.port.to_host))
        turn(&t, 0);
    while (netq_get(&t.port.to_guest, f, sizeof f))
        ;
    arp(&t);
    stop(&t);
}

static void captures(void **state)
{
    struct t t;
    struct err e = {0};
    struct pcap *p;
    char path[] = "/tmp/vmtest-pcap-XXXXXX";
    uint8_t file[512];
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(pcap_open(path, &p, &e), 0);
    start(&t, false);
    nat_capture(t.nat, p);
    arp(&t);
    nat_capture(t.nat, NULL);
    assert_int_equal(pcap_close(p, &e), 0);
    ssize_t n = read(fd, file, sizeof file);
    assert_int_equal(n, 24 + 16 + 60 + 16 + t.len); /* the question and its answer */
    assert_int_equal(file[0], 0x4d);
    assert_int_equal(file[20], 1);
    assert_int_equal(file[24 + 8], 60);
    assert_memory_equal(file + 24 + 16 + 6, mac, 6);
    assert_memory_equal(file + 24 + 16 + 60 + 16, t.frame, t.len);
    stop(&t);
    close(fd);
    unlink(path);
    assert_int_equal(pcap_open("/nonexistent/capture", &p, &e), VT_NOENT);
}

/* ---- IPv6 */

enum { IP6 = 40, SOLICIT_ROUTER = 133, ADVERTISE_ROUTER, SOLICIT, ADVERTISE, ECHO = 128, ECHO_REPLY };

/* From fe80::1 (to the whole link) or fec0::1. */
static void send_icmp6(struct t *t, const uint8_t *to_mac, const char *src, const char *dst, const uint8_t *body,
                       uint32_t len)
{
    uint8_t f[ETH + IP6 + 128] = {0}, *ip = f + ETH, pseudo[8] = {0};

    ethernet(f, to_mac, 0x86dd);
    ip[0] = 0x60;
    put16(ip + 4, len);
    ip[6] = 58;
    ip[7] = 255;
    assert_int_equal(inet_pton(AF_INET6, src, ip + 8), 1);
    assert_int_equal(inet_pton(AF_INET6, dst, ip + 24), 1);
    memcpy(ip + IP6, body, len);
    put32(pseudo, len);
    pseudo[7] = 58;
    put16(ip + IP6 + 2, fold(add_words(add_words(add_words(0, ip + 8, 32), pseudo, 8), ip + IP6, len)));
    send_frame(t, f, ETH + IP6 + len);
}

/* Waits for an ICMPv6 message of a type, answering whoever looks for the guest. */
static const uint8_t *receive_icmp6(struct t *t, uint8_t type)
{
    for (unsigned i = 0; i < 50 && receive(t, 0x86dd); i++) {
        const uint8_t *m = t->frame + ETH + IP6;
        if (t->frame[ETH + 6] != 58)
            continue;
        if (m[0] == type)
            return m;
        if (m[0] == SOLICIT) {
            uint8_t answer[32] = {ADVERTISE, 0, 0, 0, 0x60};
            char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
            memcpy(answer + 8, m + 8, 16);
            answer[24] = 2;
            answer[25] = 1;
            memcpy(answer + 26, mac, 6);
            inet_ntop(AF_INET6, m + 8, from, sizeof from);
            inet_ntop(AF_INET6, t->frame + ETH + 8, to, sizeof to);
            send_icmp6(t, t->frame + 6, from, to, answer, sizeof answer);
        }
    }
    fail_msg("no ICMPv6 message of type %u", type);
    return NULL;
}

static void ipv6(void **state)
{
    static const uint8_t all_routers[6] = {0x33, 0x33, 0, 0, 0, 2}, prefix[8] = {0xfe, 0xc0};
    uint8_t solicit[8] = {SOLICIT_ROUTER}, echo[16] = {ECHO, 0, 0, 0, 0, 7, 0, 9, 'h', 'e', 'l', 'l', 'o'}, router[6];
    const uint8_t *m, *option, *end;
    bool found = false;
    struct t t;

    start(&t, false);
    send_icmp6(&t, all_routers, "fe80::1", "ff02::2", solicit, sizeof solicit);
    m = receive_icmp6(&t, ADVERTISE_ROUTER);
    memcpy(router, t.frame + 6, 6);
    end = t.frame + t.len;
    for (option = m + 16; option + 8 <= end && option[1]; option += option[1] * 8)
        if (option[0] == 3) { /* the prefix that addresses are made of */
            assert_int_equal(option[2], 64);
            assert_int_equal(option[3] & 0xc0, 0xc0); /* on this link, and autonomous */
            assert_memory_equal(option + 16, prefix, 8);
            found = true;
        }
    assert_true(found);
    send_icmp6(&t, router, "fec0::1", "fec0::2", echo, sizeof echo);
    m = receive_icmp6(&t, ECHO_REPLY);
    assert_memory_equal(m + 4, echo + 4, sizeof echo - 4);
    /* the same after a revert */
    assert_int_equal(nat_reset_connections(t.nat, NULL), 0);
    send_icmp6(&t, all_routers, "fe80::1", "ff02::2", solicit, sizeof solicit);
    receive_icmp6(&t, ADVERTISE_ROUTER);
    stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_arp), cmocka_unit_test(answers_dhcp), cmocka_unit_test(reset_on_both_sides),
        cmocka_unit_test(forwards),    cmocka_unit_test(taken_port),   cmocka_unit_test(survives_nonsense),
        cmocka_unit_test(captures),    cmocka_unit_test(ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
