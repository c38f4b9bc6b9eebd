"""How to remember: SQLAlchemy Core, SQLite by default. The only floor that speaks SQL.

schema      the tables
machines    MachineStore: rows of machines, as frozen records
"""
