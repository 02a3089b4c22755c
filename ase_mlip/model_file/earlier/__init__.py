"""Model files of earlier versions, which stay readable: those of schema 1 and of contract 1.

It imports the modules beside the packages and ``derivatives``. :mod:`.first_schema` is what loading calls,
:mod:`.first_contract` what scripting calls.
Public: ``first_contract.in_second_contract``, ``first_contract.unwrapped``,
``first_schema.in_present_schema``.
"""
