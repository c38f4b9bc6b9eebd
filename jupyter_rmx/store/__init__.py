"""How to remember: SQLAlchemy Core, SQLite by default, PostgreSQL by URL. The only floor that speaks SQL.

schema       the tables
database     connections, transactions, errors
migrations/  how older files become what the schema says
store        Store and Transaction: all tables in one transaction
machines, operations, events, leases    rows of one kind each, as frozen records
"""
