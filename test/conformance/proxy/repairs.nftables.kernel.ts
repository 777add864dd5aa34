import { describeRepairs } from './repair-suite.ts';

const TABLE = 'flatnet-proxy';

describeRepairs({
  name: 'nftables',
  mode: 'nftables',
  harms: [
    { name: 'nft flush ruleset', commands: ['nft flush ruleset'] },
    { name: 'one family is deleted', commands: [`nft delete table ip6 ${TABLE}`] },
    { name: 'a map is emptied', commands: [`nft flush map ip ${TABLE} service-ips`] },
    { name: 'a chain is emptied', commands: [`nft flush chain ip ${TABLE} nat-prerouting`] },
    { name: 'a rule is put before ours', commands: [`nft insert rule ip ${TABLE} nat-prerouting accept`] },
  ],
});
