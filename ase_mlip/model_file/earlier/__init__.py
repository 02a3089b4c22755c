"""Model files of earlier versions, which stay readable: those of schema 1 and of contract 1.

It imports the modules beside the packages and ``derivatives``. :mod:`.first_schema` is what loading calls,
:mod:`.first_contract` what scripting calls.
"""
