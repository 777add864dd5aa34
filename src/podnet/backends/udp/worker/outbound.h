/*
 * From the TUN device to the nodes. What the kernel hands over as one large TCP or UDP packet becomes packets as they
 * go over the wire (one in a datagram, which is flannel's framing), and neighbouring datagrams of one size to one node
 * go to the kernel as one (UDP_SEGMENT): the payload is touched once, for its checksum, and copied by the kernel alone.
 */
#pragma once
#include "icmp.h"
#include "packet.h"
#include "peers.h"
#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <sys/uio.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define MESSAGES 64
#define SEGMENTS 64 /* UDP_MAX_SEGMENTS of <linux/udp.h> in kernels before 6.9 */
#define PIECES 2048
#define HEADERS_MAX 120 /* of IP and TCP, with all options */
#define UDP_PAYLOAD_MAX (IP_MAX - 28)
#define ARENA (512 * 1024)

struct message {
  struct sockaddr_in to;
  size_t size;  /* of all datagrams but the last, which may be shorter */
  size_t bytes; /* of all together */
  unsigned datagrams;
  bool full;
};

static struct {
  struct message messages[MESSAGES];
  struct mmsghdr headers[MESSAGES];
  union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(uint16_t))];
  } controls[MESSAGES];
  struct iovec pieces[PIECES];
  uint8_t segment_headers[PIECES][HEADERS_MAX];
  _Alignas(16) uint8_t arena[ARENA];
  size_t count, pieces_used, arena_used;
} out;

static int tun_fd, udp_fd;
static bool udp_gso = true;

static void add_piece(void *data, size_t length) {
  struct message *message = &out.messages[out.count - 1];
  out.pieces[out.pieces_used++] = (struct iovec){data, length};
  out.headers[out.count - 1].msg_hdr.msg_iovlen++;
  message->bytes += length;
}

/* A datagram of `length` bytes follows, in pieces: to the message before, if the kernel can cut them apart again. */
static void begin_datagram(const struct peer *peer, size_t length) {
  struct message *last = out.count == 0 ? NULL : &out.messages[out.count - 1];
  if (last != NULL && udp_gso && !last->full && length <= last->size && last->datagrams < SEGMENTS &&
      last->bytes + length <= UDP_PAYLOAD_MAX && memcmp(&last->to, &peer->address, sizeof last->to) == 0) {
    last->full = length < last->size;
    last->datagrams++;
    return;
  }
  last = &out.messages[out.count];
  *last = (struct message){.to = peer->address, .size = length, .datagrams = 1};
  out.headers[out.count].msg_hdr = (struct msghdr){
      .msg_name = &last->to, .msg_namelen = sizeof last->to, .msg_iov = &out.pieces[out.pieces_used]};
  out.count++;
}

/* What the way to a node carries at the moment, without the 28 bytes that IP and UDP take. */
static uint16_t path_mtu(const struct sockaddr_in *to) {
  int mtu = 0, probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  socklen_t size = sizeof mtu;
  if (probe >= 0 && connect(probe, (const struct sockaddr *)to, sizeof *to) == 0)
    getsockopt(probe, IPPROTO_IP, IP_MTU, &mtu, &size);
  if (probe >= 0) close(probe);
  return mtu < 68 + 28 ? 68 : (uint16_t)(mtu - 28);
}

/* A datagram alone; what cannot be sent is answered as a router does. */
static bool send_datagram(struct message *message, struct iovec *pieces, size_t count) {
  struct msghdr one = {
      .msg_name = &message->to, .msg_namelen = sizeof message->to, .msg_iov = pieces, .msg_iovlen = count};
  ssize_t sent = sendmsg(udp_fd, &one, MSG_NOSIGNAL);
  if (sent >= 0) return true;
  const struct iphdr *ip = pieces[0].iov_base;
  if (errno == EMSGSIZE && (ip->frag_off & htons(IP_DF))) {
    answer(ip, pieces[0].iov_len, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, path_mtu(&message->to));
  } else if (errno == EMSGSIZE) {
    /* The sender allows fragments: the kernel makes them of the datagram, and the other node's puts them together. */
    const int fragment = IP_PMTUDISC_DONT, never = IP_PMTUDISC_DO;
    setsockopt(udp_fd, IPPROTO_IP, IP_MTU_DISCOVER, &fragment, sizeof fragment);
    sent = sendmsg(udp_fd, &one, MSG_NOSIGNAL);
    setsockopt(udp_fd, IPPROTO_IP, IP_MTU_DISCOVER, &never, sizeof never);
    if (sent < 0) stats.dropped++;
    return sent >= 0;
  } else if (errno == ENETUNREACH || errno == EHOSTUNREACH || errno == ENETDOWN) {
    answer(ip, pieces[0].iov_len, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
  } else stats.dropped++;
  return false;
}

static void send_apart(size_t index, int error) {
  struct message *message = &out.messages[index];
  struct msghdr *head = &out.headers[index].msg_hdr;
  bool all = true;
  for (size_t from = 0; from < head->msg_iovlen;) {
    size_t count = 0;
    for (size_t bytes = 0; bytes < message->size && from + count < head->msg_iovlen; count++)
      bytes += head->msg_iov[from + count].iov_len;
    all = send_datagram(message, &head->msg_iov[from], count) && all;
    from += count;
  }
  /* Linux before 4.18, or a device that cannot compute checksums: never again. */
  if (message->datagrams > 1 && all && (error == EINVAL || error == EIO)) udp_gso = false;
}

static void send_all(void) {
  for (size_t i = 0; i < out.count; i++) {
    struct msghdr *head = &out.headers[i].msg_hdr;
    stats.tx_packets += out.messages[i].datagrams;
    stats.tx_bytes += out.messages[i].bytes;
    if (out.messages[i].datagrams == 1) continue;
    uint16_t size = (uint16_t)out.messages[i].size;
    head->msg_control = &out.controls[i];
    head->msg_controllen = sizeof out.controls[i];
    out.controls[i].head = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof size), .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT};
    memcpy(CMSG_DATA(&out.controls[i].head), &size, sizeof size);
  }
  for (size_t done = 0; done < out.count;) {
    int sent = sendmmsg(udp_fd, &out.headers[done], (unsigned)(out.count - done), MSG_NOSIGNAL);
    if (sent > 0) done += (size_t)sent;
    else if (errno != EINTR) send_apart(done++, errno);
  }
  out.count = out.pieces_used = 0;
}

static void make_room(void) {
  if (out.count == MESSAGES || out.pieces_used + 2 > PIECES) send_all();
}

/* Cuts a large packet of the kernel's into those that go over the wire, with their own numbers and checksums. */
static void segment(const struct peer *peer, struct iphdr *ip, size_t length, size_t size) {
  size_t headers = headers_length(ip, length), begin = ip_header(ip);
  uint32_t sequence = ntohl(((struct tcphdr *)((uint8_t *)ip + begin))->seq);
  uint16_t id = ntohs(ip->id);
  for (size_t at = headers; at < length; at += size, id++) {
    size_t payload = length - at < size ? length - at : size;
    make_room();
    uint8_t *header = out.segment_headers[out.pieces_used];
    memcpy(header, ip, headers);
    struct iphdr *own = (struct iphdr *)header;
    own->tot_len = htons((uint16_t)(headers + payload));
    own->id = htons(id);
    seal_ip(own);
    uint16_t *check;
    if (ip->protocol == IPPROTO_TCP) {
      struct tcphdr *tcp = (struct tcphdr *)(header + begin);
      tcp->seq = htonl(sequence + (uint32_t)(at - headers));
      if (at != headers) ((uint8_t *)tcp)[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
      if (at + payload < length) tcp->fin = tcp->psh = 0;
      check = &tcp->check;
    } else {
      struct udphdr *udp = (struct udphdr *)(header + begin);
      udp->len = htons((uint16_t)(headers - begin + payload));
      check = &udp->check;
    }
    *check = 0;
    uint64_t sum = pseudo_header(ip, headers - begin + payload);
    sum = add(add(sum, header + begin, headers - begin), (uint8_t *)ip + at, payload);
    *check = (uint16_t)~fold(sum);
    if (*check == 0) *check = 0xffff; /* 0 says in UDP that there is none; in TCP both are zero */
    begin_datagram(peer, headers + payload);
    add_piece(header, headers);
    add_piece((uint8_t *)ip + at, payload);
  }
}

static void finish_checksum(struct iphdr *ip, size_t length, size_t start, size_t offset) {
  if (start + offset + 2 > length) return;
  uint8_t *check = (uint8_t *)ip + start + offset;
  uint16_t sum = (uint16_t)~fold(add(0, (uint8_t *)ip + start, length - start));
  if (sum == 0) sum = 0xffff;
  memcpy(check, &sum, sizeof sum);
}

static void forward(const struct virtio_net_hdr *offload, struct iphdr *ip, size_t bytes) {
  size_t length = packet_length(ip, bytes);
  if (length == 0) {
    stats.dropped++; /* IPv6, which this backend does not carry */
    return;
  }
  if (ip->ttl <= 1) return answer(ip, length, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
  const struct peer *peer = find_peer(ip->daddr);
  if (peer == NULL) return answer(ip, length, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, 0);
  ip->ttl--;
  out.arena_used += (length + 15) & ~(size_t)15;
  size_t headers = headers_length(ip, length);
  if (offload->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
    if (headers == 0 || offload->gso_size == 0) stats.dropped++;
    else segment(peer, ip, length, offload->gso_size);
    return;
  }
  if (offload->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
    finish_checksum(ip, length, offload->csum_start, offload->csum_offset);
  seal_ip(ip);
  make_room();
  begin_datagram(peer, length);
  add_piece(ip, length);
}

/* Reads what the kernel has for other nodes, and sends it. False when there was nothing. */
static bool tun_to_udp(void) {
  bool any = false;
  out.arena_used = 0;
  while (ARENA - out.arena_used > IP_MAX) {
    struct virtio_net_hdr offload;
    struct iphdr *ip = (struct iphdr *)(out.arena + out.arena_used);
    struct iovec into[2] = {{&offload, sizeof offload}, {ip, IP_MAX}};
    ssize_t got = readv(tun_fd, into, 2);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) exit(1); /* EBADFD: the device is gone, and so is the worker's purpose */
    any = true;
    if ((size_t)got > sizeof offload) forward(&offload, ip, (size_t)got - sizeof offload);
  }
  if (any) send_all();
  return any;
}
