"""How long work says how far it is, and bars and lines that show it.

Every function that takes long has the keyword ``progress``, a function ``progress(done, total, stage)``
(:mod:`.form`). ``with bar("step") as progress`` makes one that shows a bar, or on a stderr that is no
terminal a line now and then (:mod:`.bars`).

It imports ``errors`` only. Public: ``form.Progress``, ``form.told``, ``bars.bar``, ``bars.Lines``.
"""
