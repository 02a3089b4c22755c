"""Pictures and HTML pages of results: each function takes a result and returns a matplotlib figure.

It imports ``model_file`` and what is below, and of ``calculators`` names of types. What is read of results of
the packages above stands in ``drawn``, so that none of them is imported; ``designs`` has the picture of a
design. Public: ``plots.save_figure``, ``page.write_report`` and the functions named plot_….
"""
