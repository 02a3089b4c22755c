"""What a design leaves behind: its report, and the files in its folder.

- :mod:`.report`: ``to_text(result)`` as ``ase-mlip design`` prints it; :mod:`.document`: for JSON.
- :mod:`.folder`: picks.xyz, rejected.xyz, design.json; a folder of another design is refused.
- :mod:`.row_store`: rows of a network as they are made, from which a killed design goes on.
- :mod:`.stored`: design.npz, from which ``--verify`` makes basis and prior again.

Nothing is imported here.
Public: ``report.to_text``, ``document.to_document``, ``document.settings_document``, ``folder.write_design``,
``folder.refuse_other_design``, ``row_store.stored_rows``, ``stored.write_stored``, ``stored.read_stored``,
``stored.StoredDesign``.
"""
