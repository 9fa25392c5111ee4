"""``python -m maxent_ray.cli``: the ``maxent-ray`` command."""

from maxent_ray.cli import main

if __name__ == "__main__":
    main()
