import { InvalidArgumentError, Option } from 'commander';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import { DEFAULT_LAB_OPTIONS } from '../lab/state/lab-options.ts';
import { listLabs } from '../lab/state/lab-folder.ts';
import { checkLabName } from '../lab/state/lab-name.ts';
import { readLabRecord, type LabRecord } from '../lab/state/lab-record.ts';
import { isRunning } from '../lab/state/process-identity.ts';

/** `--name`, the same for all commands about one lab. */
export function nameOption(): Option {
  return new Option('--name <name>', 'which lab; several can be up side by side')
    .default(DEFAULT_LAB_OPTIONS.name)
    .argParser((text) => {
      try {
        return checkLabName(text);
      } catch (error) {
        throw new InvalidArgumentError(describeError(error));
      }
    });
}

/** The record of a lab that is up. Throws LAB_NOT_FOUND, LAB_CRASHED. */
export function runningLab(name: string): LabRecord {
  const record = readLabRecord(name);
  if (record?.daemon !== undefined && isRunning(record.daemon)) return record;
  if (listLabs().includes(name)) {
    throw new FlatnetError(`lab "${name}" has crashed`, {
      code: 'LAB_CRASHED',
      hint: `flatnet lab up --name ${name} starts it anew and empty, flatnet lab down --name ${name} clears it away`,
    });
  }
  throw labNotFound(name);
}

export function labNotFound(name: string): FlatnetError {
  const labs = listLabs();
  return new FlatnetError(`there is no lab "${name}"`, {
    code: 'LAB_NOT_FOUND',
    hint: labs.length === 0 ? 'bring one up: flatnet lab up' : `there are: ${labs.join(', ')}`,
  });
}

/** Command line with which this very program is started again. */
export function ownCommandLine(): string[] {
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
}
