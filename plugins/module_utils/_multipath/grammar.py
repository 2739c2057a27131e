# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How multipath-tools reads one line of multipath.conf: libmultipath/parser.c (libmpathutil/parser.c since 0.9.1), tests/parser.c.

A line is read on its own: there is no continuation, and no quoted text reaches over the end of a line.

- The file comes in pieces of at most 1023 bytes (``fgets`` into a buffer of 1024): the rest of a longer line is read as a line of its own.
- A line ends at its first NUL byte, line feed or carriage return that follows anything else; what comes after it is not seen.
- White space, and outside of quotes every byte that is not ASCII, parts words. ``!`` and ``#`` begin a comment, also in the middle of a word,
  but not inside of quotes. ``{``, ``}`` and ``"`` are words of their own, with or without white space around them.
- Inside of quotes two quotes stand for one.
- The first word of a line decides. ``}`` closes the innermost section. A word that names a section *at this place* opens it, with or without
  a brace after it. Any other word is a keyword, and the word or the quoted text after it is its value. All that follows is dropped, braces included.
- A line that has a keyword and nothing else is dropped, and so is a line that begins with ``{``. A word that names no section here followed by a
  brace opens nothing: the lines after it belong to the section around it, and so does the closing brace.

By release: until 0.4.9 a carriage return ended a line and a last line without an end was lost. Until 0.7.5 quoted text lost the white space at its begin,
and two quotes ended it. Until 0.8.4 quoted text that begins with ``!`` or ``#`` was a comment. ``overrides`` is read since 0.6.0, ``protocol`` within it
since 0.9.0, ``devnode_blacklist`` (an older word for ``blacklist``) until 0.8.9. The files of conf.d are read since 0.6.0.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import InputError

#: a release of multipath-tools: (0, 9, 4)
Release = t.Tuple[int, ...]
#: a section by the words that lead to it: ("devices", "device"); () is the file itself
Path = t.Tuple[str, ...]

#: bytes of a line with its end that multipath-tools reads at once, in every release (MAXBUF less the final NUL)
LONGEST_LINE = 1023
#: bytes of a file beyond which nothing is parsed here; multipath-tools itself has no limit. The longest file it prints itself (all its arrays) has 50 KiB
LARGEST_FILE = 1024 * 1024

BLACKLISTS = ("blacklist", "blacklist_exceptions")
#: keywords whose lines add up, by the section they stand in; everywhere else the last line of a keyword wins
LISTS: t.Mapping[Path, t.Tuple[str, ...]] = {(name,): ("devnode", "wwid", "property", "protocol") for name in (*BLACKLISTS, "devnode_blacklist")}
#: keywords that set the same thing as another one
SAME_AS: t.Mapping[str, str] = {"checker": "path_checker"}


class Problem(t.NamedTuple):
    """Something in a file that multipath-tools does not read as it is written, or complains about.

    ``harmful``: it reads something else than what is written, or drops it. Otherwise it reads what is meant, perhaps with a complaint.
    """

    path: str
    #: as an editor counts, from 1; 0 for the file as a whole
    line: int
    #: the word at fault, as it stands in the file
    word: str
    what: str
    remedy: str
    harmful: bool = True

    @property
    def subject(self) -> str:
        return f"{self.path}, line {self.line}" if self.line else self.path

    def as_error(self) -> InputError:
        return InputError(self.subject, self.what, self.remedy)

    def as_problem(self) -> t.Dict[str, str]:
        """As an entry of a module's ``problems``."""
        return self.as_error().as_problem()
