"""Pictures and HTML pages of results: each function takes a result and returns a matplotlib figure.

It imports ``calculators``, ``model_file`` and what is below, and the results it draws by name only.
Public: ``plots.save_figure``, ``page.write_report`` and the functions named plot_….
"""
