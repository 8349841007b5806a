"""Training of the small policy. Reads input folders from `drivewam world --out`; renders nothing.
"""
