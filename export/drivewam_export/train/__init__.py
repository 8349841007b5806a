"""Trains the small policy on input folders of `drivewam world --out`. Renders nothing."""
