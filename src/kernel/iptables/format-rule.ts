import type { IpFamily } from '../../net/ip.ts';
import type { ConnectionState, Criterion, IptablesRule, RuleMatch, RuleTarget } from './rule.ts';

/** Longest comment that xt_comment takes, in bytes (linux/netfilter/xt_comment.h, without the NUL). */
const MAX_COMMENT = 255;
/** The order in which iptables-save prints connection states. */
const STATES: readonly ConnectionState[] = ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED', 'SNAT', 'DNAT'];
/** In rules as they are printed. */
export const SET_OPTION = /--match-set /;
const PLAIN_WORD = /^[A-Za-z0-9_-]+$/;

/**
 * The rule as iptables-save prints it, without `-A CHAIN`. iptables-restore reads the same back; nothing in a rule,
 * whatever characters it has, reads as anything else than the value that it stands for.
 */
export function formatRule(rule: IptablesRule, family: IpFamily): string {
  let text = '';
  if (rule.source !== undefined) text += prefix('s', rule.source, family);
  if (rule.destination !== undefined) text += prefix('d', rule.destination, family);
  if (rule.input !== undefined) text += ` ${negation(rule.input)}-i ${quoteWord(rule.input.value)}`;
  if (rule.protocol !== undefined) text += ` -p ${rule.protocol}`;
  for (const match of rule.matches ?? []) text += ` ${formatMatch(match, rule, family)}`;
  if (rule.target !== undefined) text += ` -j ${formatTarget(rule.target, family)}`;
  return text.slice(1);
}

/** A comment as the kernel keeps it: printable ASCII, not too long. */
export function cleanComment(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, MAX_COMMENT);
}

/** Bare where nothing can be misread. */
function quoteWord(text: string): string {
  return /^[A-Za-z0-9_.:/+,-]+$/.test(text) ? text : quote(cleanComment(text));
}

/** The parts of 2^31 that the kernel compares a random number with, for one of `outOf`. */
export function probabilityParts(outOf: number): number {
  // kube-proxy writes ten digits, and the tool rounds what it reads.
  return Math.round(Number((1 / outOf).toFixed(10)) * 0x80000000);
}

function negation(criterion: { readonly not?: boolean }): string {
  return criterion.not === true ? '! ' : '';
}

/** The states in the order in which they are printed. */
function orderedStates(states: readonly ConnectionState[]): ConnectionState[] {
  return STATES.filter((state) => states.includes(state));
}

function formatMatch(match: RuleMatch, rule: IptablesRule, family: IpFamily): string {
  switch (match.kind) {
    case 'comment': {
      const text = cleanComment(match.text);
      return `-m comment --comment ${PLAIN_WORD.test(text) ? text : quote(text)}`;
    }
    case 'transport':
      return `-m ${rule.protocol}${match.port === undefined ? '' : ` --dport ${match.port}`}`;
    case 'statistic':
      return `-m statistic --mode random --probability ${(probabilityParts(match.outOf) / 0x80000000).toFixed(11)}`;
    case 'conntrack':
      return `-m conntrack ${negation(match)}--ctstate ${orderedStates(match.states).join(',')}`;
    case 'mark':
      return `-m mark ${negation(match)}--mark ${hex(match.mark)}/${hex(match.mark)}`;
    case 'local-address':
      return `-m addrtype --${match.of === 'source' ? 'src' : 'dst'}-type LOCAL`;
    case 'recent-set':
      return `-m recent --set --name ${quoteWord(match.list)} ${recentTail(family)}`;
    case 'recent-check':
      return `-m recent --rcheck --seconds ${match.seconds} --reap --name ${quoteWord(match.list)} ${recentTail(family)}`;
    case 'set':
      return `-m set ${negation(match)}--match-set ${quoteWord(match.set)} ${match.of.join(',')}`;
    default:
      return `-m nfacct --nfacct-name ${quoteWord(match.counter)}`;
  }
}

function formatTarget(target: RuleTarget, family: IpFamily): string {
  switch (target.kind) {
    case 'verdict':
      return target.verdict;
    case 'jump':
      return quoteWord(target.chain);
    case 'reject':
      return `REJECT --reject-with ${target.with ?? (family === 4 ? 'icmp-port-unreachable' : 'icmp6-port-unreachable')}`;
    case 'dnat':
      return `DNAT --to-destination ${family === 4 ? target.address : `[${target.address}]`}:${target.port}`;
    case 'mark':
      return `MARK --set-xmark ${hex(target.value)}/${hex(target.mask)}`;
    default:
      return target.randomFully ? 'MASQUERADE --random-fully' : 'MASQUERADE';
  }
}

function prefix(option: 's' | 'd', criterion: Criterion, family: IpFamily): string {
  const { value } = criterion;
  const text = value.includes('/') ? value : `${value}/${family === 4 ? 32 : 128}`;
  return ` ${negation(criterion)}-${option} ${text}`;
}

function recentTail(family: IpFamily): string {
  const mask = family === 4 ? '255.255.255.255' : 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
  return `--mask ${mask} --rsource`;
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

function quote(text: string): string {
  return `"${text.replaceAll(/["'\\]/g, String.raw`\$&`)}"`;
}
