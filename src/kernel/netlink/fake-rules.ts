import type { IpFamily } from '../../net/ip.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';
import { RT_TABLE_LOCAL, RT_TABLE_MAIN, RTPROT_KERNEL, RTPROT_STATIC } from './constants.ts';
import type { NewRule, Rule } from './objects.ts';

const RT_TABLE_DEFAULT = 253;

/** The policy routing rules of one namespace of the fake. */
export class FakeRules {
  #rules: Rule[] = [
    kernelRule(4, 0, RT_TABLE_LOCAL),
    kernelRule(4, 32766, RT_TABLE_MAIN),
    kernelRule(4, 32767, RT_TABLE_DEFAULT),
    kernelRule(6, 0, RT_TABLE_LOCAL),
    kernelRule(6, 32766, RT_TABLE_MAIN),
  ];

  /** In the order in which the kernel asks them. */
  list(family?: IpFamily): Rule[] {
    return this.#rules
      .filter((rule) => (family ?? rule.family) === rule.family)
      .toSorted((a, b) => a.family - b.family || a.priority - b.priority);
  }

  add(wanted: NewRule): Rule {
    const rule = complete(wanted);
    if (this.#rules.some((one) => isSame(one, rule))) {
      throw errnoError(`add IPv${rule.family} rule ${rule.priority}`, ERRNO.EEXIST);
    }
    this.#rules.push(rule);
    return rule;
  }

  remove(wanted: NewRule): Rule {
    const rule = complete(wanted);
    const gone = this.#rules.find((one) => isSame(one, rule));
    if (gone === undefined) {
      throw errnoError(`delete IPv${rule.family} rule ${rule.priority}`, ERRNO.ENOENT);
    }
    this.#rules = this.#rules.filter((one) => one !== gone);
    return gone;
  }
}

function kernelRule(family: IpFamily, priority: number, table: number): Rule {
  return { family, priority, action: 'lookup', table, invert: false, protocol: RTPROT_KERNEL };
}

function complete(wanted: NewRule): Rule {
  const action = wanted.action ?? 'lookup';
  return {
    ...wanted,
    action,
    table: wanted.table ?? (action === 'lookup' ? RT_TABLE_MAIN : 0),
    invert: wanted.invert ?? false,
    protocol: wanted.protocol ?? RTPROT_STATIC,
    // The kernel takes the whole mark where no mask is given.
    ...(wanted.mark === undefined ? {} : { mask: wanted.mask ?? 0xffffffff }),
  };
}

function isSame(one: Rule, other: Rule): boolean {
  return selectorOf(one) === selectorOf(other);
}

function selectorOf({ protocol: _protocol, ...rule }: Rule): string {
  return JSON.stringify(Object.entries(rule).toSorted(([a], [b]) => a.localeCompare(b)));
}
