// The table of words in use. A second language is chosen here.

import { en, type Words } from "./en";

export const words: Words = en;
