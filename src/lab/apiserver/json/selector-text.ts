import { type JsonObject, objectAt, objectsAt, stringAt, stringsAt } from './json.ts';

/** A LabelSelector as the text that list requests take. */
export function selectorText(selector: JsonObject): string {
  const terms = Object.entries(objectAt(selector, 'matchLabels') ?? {}).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : ''}`,
  );
  for (const expression of objectsAt(selector, 'matchExpressions')) {
    const key = stringAt(expression, 'key') ?? '';
    const values = stringsAt(expression, 'values').join(',');
    const operator = stringAt(expression, 'operator');
    if (operator === 'Exists') terms.push(key);
    else if (operator === 'DoesNotExist') terms.push(`!${key}`);
    else terms.push(`${key} ${operator === 'In' ? 'in' : 'notin'} (${values})`);
  }
  return terms.sort().join(',');
}
